"""A training in two processes with two devices each: the numbers of one process with four, and how it ends."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import pytest

from flowseg.config import Config, FilmConfig, TrainConfig
from flowseg.config_values import to_json
from flowseg.evaluation.evaluate import evaluate_run
from flowseg.models.network import init_params
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import Run, create_run, open_run
from flowseg.runs.log import read_metrics
from flowseg.runs.prepare import Prepared, prepare
from flowseg.runs.trained import Trained
from flowseg.training import loop
from flowseg.training.state import init_state

STEPS = 20
WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Ended:
    """How the two processes of a scenario ended."""

    statuses: list[int]
    outputs: list[str]
    errors: list[list[str]]
    """Lines on standard error."""
    came: list[list[str]]
    """What came of each act, by process."""


def in_two_processes(folder: Path, **scenario: Any) -> Ended:
    """Runs a scenario of worker.py in two processes with two devices each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    file = folder / "scenario.json"
    file.write_text(json.dumps({"coordinator": address, "processes": 2, **scenario}))
    environment = {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=4", "count=2")}
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(file), str(process)],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        told = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    answers = [file.with_suffix(f".{process}.json") for process in range(2)]
    return Ended(
        [process.returncode for process in started],
        [out for out, _ in told],
        [err.splitlines() for _, err in told],
        [json.loads(answer.read_text()) if answer.exists() else [] for answer in answers],
    )


@pytest.fixture(scope="module")
def config(tiny_config: Config) -> Config:
    """A network of one level: the smallest program. All devices that are there."""
    model = replace(tiny_config.model, multipliers=(1,), full_attention_levels=(0,), film=FilmConfig())
    train = TrainConfig(
        batch=4, epochs=4, epoch_steps=5, validate_every=2, checkpoint_every=3, log_every=2, half_size_share=0.4
    )
    return replace(tiny_config, devices=None, model=model, train=train)


@pytest.fixture(scope="module")
def prepared(config: Config) -> Prepared:
    return prepare(config)


@pytest.fixture(scope="module")
def alone(config: Config, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of one process with four devices."""
    assert len(jax.devices()) == 4
    run = create_run(tmp_path_factory.mktemp("alone") / "run", config, prepared.encoder)
    loop.train(run, prepared.datasets)
    return run


def plain(config: Config) -> Any:
    return json.loads(to_json(config))


def final(run: Path, config: Config) -> dict[str, bytes]:
    """Every number of the state after the last step, as bytes."""
    with closing(Checkpoints(run, read_only=True)) as checkpoints:
        like = init_state(config, init_params(config), STEPS)
        state, _ = checkpoints.restore_state(STEPS, config, like)
    return {str(path): np.asarray(leaf).tobytes() for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def last_saved(run: Path) -> int:
    with closing(Checkpoints(run, read_only=True)) as checkpoints:
        return checkpoints.steps("latest")[-1]


def measured(run: Path) -> list[dict[str, Any]]:
    return [{name: v for name, v in line.items() if name != "images_per_s"} for line in read_metrics(run)]


def written(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def table(content: bytes) -> list[list[Any]]:
    """The cells of a CSV file, numbers as such."""
    rows = csv.reader(content.decode().splitlines())
    return [[float(cell) if cell[:1].isdigit() else cell for cell in row] for row in rows]


def nearly(value: Any) -> Any:
    """Equals what has the same structure and values, but for the last digits of numbers."""
    if isinstance(value, dict):
        return {name: nearly(part) for name, part in value.items()}
    if isinstance(value, list):
        return [nearly(part) for part in value]
    return pytest.approx(value, rel=1e-4, abs=2e-6) if isinstance(value, float) else value


def assert_same(run: Path, other: Run) -> None:
    assert final(run, open_run(run).config) == final(other.path, other.config)
    assert measured(run) == measured(other.path)


@pytest.fixture(scope="module")
def acted(config: Config, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """One start of two processes in which much happens, in the order of the tests below."""
    folder = tmp_path_factory.mktemp("pair")
    for name in ("a", "b"):
        (folder / name).mkdir()
    other = folder / "other"
    local = replace(config, data=replace(config.data, root="data"))
    (folder / "data").symlink_to(tiny_data)
    other.mkdir()
    (other / "data").mkdir()
    for split, source in (("train", "val"), ("val", "val"), ("test", "test")):
        (other / "data" / split).symlink_to(tiny_data / source)
    out = str(folder / "refused")
    jit = plain(replace(config, parallel="jit"))
    slow = {"process": 0, "slow_for_best": str(folder / "jit")}
    acts = [
        {"act": "refused", "out": out, "config": [plain(config), plain(replace(config, seed=1))]},
        {"act": "refused", "out": out, "config": plain(config), "here": {"software": "another"}},
        {"act": "refused", "out": out, "config": plain(local), "here": {"cwd": str(other)}},
        {"act": "refused", "out": out, "config": plain(replace(config, train=replace(config.train, batch=6)))},
        {"act": "unshared", "folders": [str(folder / "a"), str(folder / "b")]},
        {"act": "train", "out": str(folder / "jit"), "config": jit, "disturbed": slow},
        {"act": "score", "out": str(folder / "jit"), "config": jit},
        {
            "act": "train",
            "out": str(folder / "stopped"),
            "config": jit,
            "disturbed": {"process": 0, "signal": "SIGTERM", "step": 4},
        },
    ]
    return folder, in_two_processes(folder, acts=acts)


def test_what_differs_between_hosts_is_refused_by_both(acted: tuple[Path, Ended]) -> None:
    folder, ended = acted
    config, software, data, batch, shared, *_ = ended.came[0]
    assert config.startswith("configs: seed is 0 on process 0, and 1 on process 1 (")
    assert software.startswith("software: source is ") and "and 'another' on process 1 (" in software
    assert data.startswith("data: train is ")
    assert batch.startswith("train.batch = 6: is not divisible by the 4 devices")
    assert shared.startswith(f"{folder / 'a'}: is not the same folder on process 0 and process 1 (")
    assert ended.came[1][:4] == ended.came[0][:4] and ended.came[1][4] == shared.replace("/a: ", "/b: ")
    assert all("\n" not in line for line in ended.came[0])
    assert not (folder / "refused").exists() and not list((folder / "a").iterdir())


def test_two_processes_train_what_one_does_to_the_bit(acted: tuple[Path, Ended], alone: Run) -> None:
    folder, ended = acted
    assert [came[5] for came in ended.came] == ["trained"] * 2
    assert_same(folder / "jit", alone)


def test_two_processes_score_what_one_does(acted: tuple[Path, Ended], prepared: Prepared, alone: Run) -> None:
    folder, ended = acted
    assert [came[6] for came in ended.came] == ["scored"] * 2 and open_run(folder / "jit").finished
    assert len(prepared.datasets["test"]) > 1
    evaluate_run(Trained.open(alone, prepared=prepared), "test", prepared)
    there, here = (written(run / "eval" / "test") for run in (folder / "jit", alone.path))
    assert there.keys() == here.keys()
    # The threads that share a product are as many as a process has devices, which may change the last bit of a sum.
    scores, others = ({**json.loads(files["metrics.json"]), "run": "", "seconds": 0} for files in (there, here))
    assert scores == nearly(others) and table(there["per_image.csv"]) == nearly(table(here["per_image.csv"]))
    for name in there:
        if name.endswith(".png"):
            pixels, expected = (cv2.imdecode(np.frombuffer(files[name], np.uint8), -1) for files in (there, here))
            assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).max() <= 1, name


def test_a_signal_to_the_first_process_stops_both(acted: tuple[Path, Ended]) -> None:
    folder, ended = acted
    assert [came[7] for came in ended.came] == ["stopped by SIGTERM"] * 2 and ended.statuses == [0, 0]
    assert 5 <= last_saved(folder / "stopped") < STEPS


def test_after_a_signal_and_a_kill_one_process_continues_to_the_same_end(
    config: Config, prepared: Prepared, alone: Run, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "config.py"
    file.write_text(f"from flowseg.config_values import saved_config\nconfig = saved_config({asdict(config)!r})\n")
    command = ["train", str(file), "--preset", "full", "--out", str(run), "--resume", "auto"]
    stop = {"process": 1, "signal": "SIGTERM", "step": 4}
    ended = in_two_processes(tmp_path, command=command, disturbed=stop)
    step = last_saved(run)
    assert ended.statuses == [128 + signal.SIGTERM] * 2 and ended.errors[0] == []
    assert 5 <= step < STEPS - 5 and f"stopped by SIGTERM at step {step} of {STEPS}" in ended.outputs[0]
    early = {"process": 1, "signal": "SIGTERM", "step": None}  # before the training has begun to ask
    ended = in_two_processes(tmp_path, command=command, disturbed=early)
    assert ended.statuses == [128 + signal.SIGTERM] * 2 and last_saved(run) == step
    assert f"stopped by SIGTERM at step {step} of {STEPS}" in ended.outputs[0]
    kill = {"process": 1, "signal": "SIGKILL", "step": step + 3}
    ended = in_two_processes(tmp_path, command=command, disturbed=kill)
    assert ended.statuses == [1, -signal.SIGKILL]
    (line,) = ended.errors[0]
    assert line.startswith("flowseg: process 1 (") and "has ended: it was killed" in line and "--resume" in line
    assert not list(run.rglob(".part-*")) and not (run / "report").exists()
    saved = (last_saved(run) // config.train.checkpoint_every + 1) * config.train.checkpoint_every
    full = {"process": 0, "full_after": str(run / "checkpoints" / "latest" / str(saved))}
    ended = in_two_processes(tmp_path, command=command, disturbed=full)
    assert ended.statuses == [1, 1]
    (here,), (there,) = ended.errors
    assert "checkpoints/" in here and "a checkpoint cannot be written (" in here and "No space left" in here
    assert there.startswith("flowseg: process 0 (") and "a checkpoint cannot be written (" in there
    assert not list(run.rglob(".part-*")) and not (run / "report").exists()
    loop.train(open_run(run), prepared.datasets)  # with four devices
    assert_same(run, alone)
