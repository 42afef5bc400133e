"""The commands on a Ray cluster of two nodes: what comes out is what one process makes, also after a loss."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("ray", reason="needs the cluster extra: pip install 'flowseg[cluster]'")
from commands import BASELINE, FILM, Flowseg, trained_run
from ray_machines import Machines
from refusals import refusal

from flowseg.commands import embed_on_cluster, experiment, predict_on_cluster
from flowseg.commands.predict_on_cluster import bring_together
from flowseg.phantoms.angiogram import write_phantoms

pytestmark = pytest.mark.cluster
TINY = ("--data.crop", 16, "--train.batch", 4, "--model.dim", 8, "--model.heads", 1, "--model.head-dim", 8)
TINY += ("--model.multipliers", 1, "--model.full-attention-levels", 0, "--flow.family", "supervised")
TINY += ("--train.epochs", 4, "--train.epoch-steps", 5, "--train.validate-every", 2, "--train.checkpoint-every", 4)
TINY += ("--eval.steps", 1, "--eval.min-component", 0, "--devices", 1, "--preset", "full")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many") / "data"
    write_phantoms(root, size=64, counts={"train": 8, "val": 2, "test": 2})
    return root


def parents_of(text: str) -> list[int]:
    """The process ids of the workers whose commands of flowseg have a text on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"flowseg" in words and any(text.encode() in word for word in words):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent != os.getpid():
                    found.append(parent)
        except (OSError, IndexError):  # it has ended
            continue
    return found


def meanwhile(ready: Callable[[], object], act: Callable[[], object]) -> Thread:
    """Calls `act` once `ready` holds, from a thread."""

    def wait() -> None:
        deadline = time.monotonic() + 600
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.05)
        act()

    thread = Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_a_worker_of(text: str) -> Thread:
    """Kills the worker of a command that has a text on its command line, once there is one."""
    found: list[int] = []

    def ready() -> bool:
        found.extend(parents_of(text))
        return bool(found)

    return meanwhile(ready, lambda: os.kill(found[0], signal.SIGKILL))


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_prediction_with_a_lost_worker_has_every_image_once(
    flowseg: Flowseg, machines: Machines, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_on_cluster, "FEWEST", 4)
    run, out = trained_run(tmp_path / "run", many), tmp_path / "out"
    command = ("predict", run, many / "train" / "image", many / "test" / "image", "--cpus-each", 1)
    command = (*command, "--cluster", machines.address, "--out", out)
    killer = kill_a_worker_of(f"{out}/.cluster/chunk-00001")
    outcome = flowseg(*command)
    killer.join()
    assert outcome.status == 0, outcome.err
    assert "10 files in 3 chunks, 0 of them finished; 2 at a time, each with 1 core" in outcome.out
    assert "chunk-00001: its worker was lost" in outcome.out and "10 masks of 3 chunks" in outcome.out
    whole = tmp_path / "whole"
    assert flowseg("predict", run, many / "train" / "image", many / "test" / "image", "--out", whole).status == 0
    assert files(out) == files(whole) and len(files(out)) == 3 * 10 + 1
    again = flowseg(*command)
    assert again.status == 1 and f"{out}: holds a finished prediction; choose another --out" in again.err


@pytest.mark.parametrize("encoder", ["image-stats", "qwen2.5-vl"])
def test_an_embedding_with_a_lost_worker_is_the_store_of_one_process(
    flowseg: Flowseg,
    machines: Machines,
    many: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
) -> None:
    options = ["--encoder", encoder]
    if encoder == "qwen2.5-vl":
        pytest.importorskip("transformers", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
        from tiny_qwen import make_tiny_qwen

        options += ["--model", str(make_tiny_qwen(tmp_path / "tiny"))]
    monkeypatch.setattr(embed_on_cluster, "FEWEST", 2)
    killer = kill_a_worker_of(f"{tmp_path}/store.cluster/1-of-2")
    ask = ("embed", many, *options)
    outcome = flowseg(*ask, "--out", tmp_path / "store", "--cluster", machines.address, "--cpus-each", 1)
    killer.join()
    assert outcome.status == 0, outcome.err
    assert "1-of-2: its worker was lost" in outcome.out and "12 vectors of 2 shards" in outcome.out
    assert flowseg(*ask, "--out", tmp_path / "whole").status == 0
    assert (tmp_path / "store").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not (tmp_path / "store.cluster").exists()


def test_an_experiment_with_a_lost_node_has_the_report_of_an_undisturbed_one(
    flowseg: Flowseg, machines: Machines, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last of this file: the node is gone."""
    command = ("experiment", "--configs", BASELINE, FILM, "--seeds", 0, 1, "--out", "out", "--data", many)
    command = (*command, *TINY, "--model.film.stages", 0)
    (tmp_path / "disturbed").mkdir()
    monkeypatch.chdir(tmp_path / "disturbed")
    saved = "out/*/seed-0/checkpoints"
    killer = meanwhile(lambda: len(list(Path().glob(saved))) == 2, machines.kill_second)
    outcome = flowseg(*command, "--cluster", machines.address)
    killer.join()
    assert outcome.status == 0, outcome.err
    assert "2 trainings at a time, each with 1 core" in outcome.out
    assert outcome.out.count("it is started again (1 of at most 5 times)") == 1
    assert not Path("out/.cluster").exists()

    def in_this_process(name: str, arguments: list[str]) -> None:
        ended = flowseg(name, *arguments)
        assert ended.status == 0, ended.err

    (tmp_path / "alone").mkdir()
    monkeypatch.chdir(tmp_path / "alone")
    monkeypatch.setattr(experiment, "_run", in_this_process)
    assert flowseg(*command).status == 0
    one, other = (tmp_path / name / "out" / "report" / "report.json" for name in ("disturbed", "alone"))
    assert json.loads(one.read_text()) == json.loads(other.read_text())


def test_chunks_that_were_made_otherwise_are_not_mixed(flowseg: Flowseg, many: Path, tmp_path: Path) -> None:
    """Nor are two images of one name, and nothing is moved then."""
    run, out = trained_run(tmp_path / "run", many), tmp_path / "out"
    first, second = sorted((many / "train" / "image").iterdir())[:2]
    chunks = [out / "a", out / "b"]
    for folder, image, more in ((chunks[0], first, ()), (chunks[1], second, ("--ensemble", 2))):
        assert flowseg("predict", run, image, "--out", folder, *more).status == 0
    told = refusal(lambda: bring_together(chunks, out))
    assert f"{chunks[1]}: was made otherwise than {chunks[0]} (eval differs)" in told
    assert flowseg("predict", run, first, "--out", chunks[1]).status == 0
    told = refusal(lambda: bring_together(chunks, out))
    assert f"{first.stem}: two images have outputs of this name" in told
    assert sorted(file.name for file in out.iterdir()) == ["a", "b"]
    assert flowseg("predict", run, second, "--out", chunks[1]).status == 0
    (chunks[1] / f"{second.stem}_mask.png").unlink()
    assert f"{second.stem}_mask.png: is missing" in refusal(lambda: bring_together(chunks, out))
