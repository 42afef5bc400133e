"""The main job from the command line: train, score, score again, predict."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowseg import cli
from flowseg.errors import UserError
from flowseg.runs import trackers
from flowseg.runs.folder import DONE_FILE, Lock, open_run
from flowseg.training import experiment, loop

REPO = Path(__file__).resolve().parents[2]
# A narrow network of one level, 16x16 crops, 8 steps. At a constant rate the length of a run is not in its program.
SMALL = [
    *("--preset", "cpu", "--devices", "1", "--data.crop", "16", "--data.max-side", "48"),
    *("--model.dim", "8", "--model.heads", "1", "--model.head-dim", "8"),
    *("--model.multipliers", "1", "--model.full-attention-levels", "0", "--model.film.stages", "0"),
    *("--optim.schedule", "constant"),
    *("--train.epoch-steps", "4", "--train.validate-every", "1", "--train.log-every", "2"),
    *("--eval.steps", "1", "--eval.overlap", "0"),
]
SHORT = ["--train.epochs", "2", "--train.checkpoint-every", "2"]
CONFIG = str(REPO / "configs" / "vlm_film.py")


def flowseg(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["flowseg", *args])
    cli.main()


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of configs/vlm_film.py."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        data = ("--data.root", str(tiny_data))
        flowseg(patch, "train", CONFIG, *SMALL, *SHORT, *data, "--out", str(out), "--profile")
    return out


def test_a_run_leaves_its_scores_pictures_and_config(trained: Path) -> None:
    metrics = json.loads((trained / "eval" / "test" / "metrics.json").read_text())
    assert metrics["images"] == 3 and metrics["split"] == "test"
    (tuned,) = json.loads((trained / "threshold.json").read_text())["tuned"]
    assert tuned["step"] == metrics["step"] and tuned["removal_fixed"]["min_component"] == metrics["min_component"]
    for row in ("model", "frangi"):
        for name in ("dice", "iou", "precision", "recall", "specificity"):
            scores = metrics[row][name]
            assert 0 <= scores["low"] <= scores["mean"] <= scores["high"] <= 1
    with (trained / "eval" / "test" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(r["dice"]) for r in rows]) == pytest.approx(metrics["model"]["dice"]["mean"], abs=1e-5)
    overlays = sorted((trained / "eval" / "test" / "overlays").iterdir())
    assert [p.stem for p in overlays] == sorted(r["image"].split("/")[1] for r in rows)
    assert sorted(p.name for p in (trained / "eval" / "test" / "images").iterdir()) == [p.stem for p in overlays]
    validated = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    scores = {"dice", "iou", "precision", "recall", "specificity"}
    assert all(scores < set(m) and "hd95" not in m for m in validated if m["kind"] == "val")
    assert sorted(p.name for p in (trained / "samples").iterdir()) == ["step-000004.png", "step-000008.png"]
    assert list((trained / "tensorboard").iterdir())
    assert json.loads((trained / "config.json").read_text())["config"]["train"]["epoch_steps"] == 4
    assert not list(trained.rglob("*.part*"))


def test_a_profile_is_a_trace_in_the_run_s_folder(trained: Path) -> None:
    assert [path.stat().st_size > 1000 for path in trained.glob("profile/**/*.xplane.pb")] == [True]


def test_eval_restores_the_same_scores(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = trained / "eval" / "test" / "metrics.json"
    before = json.loads(file.read_text())
    file.unlink()
    flowseg(monkeypatch, "eval", str(trained))
    after = json.loads(file.read_text())
    assert after["model"] == before["model"] and after["step"] == before["step"]


def test_a_finished_run_that_lost_its_best_checkpoint_finds_another(
    trained: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "best")
    options = [*SMALL, *SHORT, "--data.root", str(tiny_data), "--resume", str(run)]
    flowseg(monkeypatch, "train", CONFIG, *options)
    assert "is missing" in capsys.readouterr().out
    flowseg(monkeypatch, "eval", str(run))
    told = capsys.readouterr().out
    step = json.loads((run / "eval" / "test" / "metrics.json").read_text())["step"]
    assert f"{run}: checkpoint of step {step}, the best in validation (Dice " in told and "WARNING" not in told


def test_damage_to_what_a_finished_run_no_longer_needs_is_told(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(Path(shutil.copytree(trained, tmp_path / "run")))
    assert not experiment._must_train(run) and capsys.readouterr().out == ""
    newest = max((run.path / "checkpoints" / "latest").iterdir(), key=lambda path: int(path.name))
    largest = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"")
    assert not experiment._must_train(run)
    assert re.search(f"WARNING: {newest}: is damaged .*; the run is finished", capsys.readouterr().out)


class Recorder:
    """A tracker that keeps what it is shown."""

    def __init__(self) -> None:
        self.points: list[trackers.Point] = []
        self.ended: list[bool] = []

    def show(self, points: Sequence[trackers.Point]) -> None:
        assert not self.ended
        self.points += points

    def picture(self, name: str, step: int, picture: np.ndarray) -> None: ...

    def close(self, finished: bool) -> None:
        self.ended.append(finished)


def test_trackers_are_shown_the_test_scores_and_end_after_them(
    trained: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training stopped after its last step, before the scores."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    options = [*SMALL, *SHORT, "--data.root", str(tiny_data), "--resume", str(run), "--track", "mlflow"]
    monkeypatch.setattr(experiment, "check_installed", lambda names: None)
    recorder = Recorder()
    monkeypatch.setattr(trackers, "_opened", lambda run, name: recorder)
    flowseg(monkeypatch, "train", CONFIG, *options)
    assert (recorder.points, recorder.ended) == ([], []), "a finished run is not shown again"

    (run / DONE_FILE).unlink()
    flowseg(monkeypatch, "train", CONFIG, *options)
    means = json.loads((run / "eval" / "test" / "metrics.json").read_text())["model"]
    expected = {f"test/{name}": found["mean"] for name, found in means.items() if found["mean"] is not None}
    assert {name: value for name, step, value in recorder.points if step is None} == expected
    assert {name for name, step, _ in recorder.points if step is not None} >= {"train/loss", "val/dice"}
    assert recorder.ended == [True]

    def refuse(*_: object) -> None:
        raise UserError("cannot be scored")

    (run / DONE_FILE).unlink()
    recorder = Recorder()
    monkeypatch.setattr(experiment, "evaluate_run", refuse)
    with pytest.raises(UserError, match="cannot be scored"):
        experiment.run_experiment(open_run(run).config, resume=str(run), track=["mlflow"])
    assert recorder.ended == [False]


def test_predict_keeps_size_and_agrees_with_itself(
    trained: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sorted((tiny_data / "test" / "image").iterdir())[0]
    tall = tmp_path / "tall.png"
    Image.open(image).crop((0, 0, 40, 64)).save(tall)
    out = tmp_path / "out"
    flowseg(monkeypatch, "predict", str(trained), str(image), str(tall), "--out", str(out))
    for path in (image, tall):
        mask, probability = (
            np.asarray(Image.open(out / f"{path.stem}_{kind}.png")) for kind in ("mask", "probability")
        )
        assert mask.shape == probability.shape == np.asarray(Image.open(path)).shape
        assert set(np.unique(mask)) <= {0, 255}
        assert ((probability > 128) <= (mask > 0)).all() and ((probability < 127) <= (mask == 0)).all()


def test_a_stored_embedding_gives_what_the_default_gives(
    trained: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.safetensors"
    flowseg(monkeypatch, "embed", str(tiny_data), "--out", str(store))
    before = json.loads((trained / "eval" / "test" / "metrics.json").read_text())
    flowseg(monkeypatch, "eval", str(trained), "--embeddings", str(store))
    (beside,) = (trained / "eval").glob("test-by-store-*")
    after = json.loads((beside / "metrics.json").read_text())
    assert after["model"] == before["model"]


def test_two_processes_do_not_write_one_run(trained: Path) -> None:
    run = open_run(trained)
    with Lock(run), pytest.raises(UserError, match="another process"):
        Lock(run)


def test_another_config_does_not_resume_a_run(
    trained: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data.root", str(tiny_data))
    args = ["train", CONFIG, *SMALL, *SHORT, *data, "--resume", str(trained), "--optim.lr", "0.5"]
    with pytest.raises(SystemExit) as stopped:
        flowseg(monkeypatch, *args)
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert "optim.lr: 0.002 != 0.5" in error and error.count("\n") == 1


def test_a_killed_process_continues_with_resume_auto(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in epoch 2, stopped after epoch 3 or later; the second start has no step to trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWSEG_TRACES", str(tmp_path / "traces"))
    options = [CONFIG, *SMALL, "--data.root", str(tiny_data), "--train.epochs", "400", "--train.checkpoint-every", "1"]
    command = [sys.executable, "-m", "flowseg", "train", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2 "):
            process.kill()
            break
    process.wait()
    (run,) = (tmp_path / "runs").iterdir()
    (trace,) = (tmp_path / "traces").iterdir()
    validate = loop.Training._validate

    def stopped_after_epoch_3(training: loop.Training) -> None:
        validate(training)
        if training.step >= 12:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Training, "_validate", stopped_after_epoch_3)
    with pytest.raises(SystemExit) as stopped:
        flowseg(monkeypatch, "train", *options, "--resume", "auto")
    assert stopped.value.code == 128 + signal.SIGTERM
    told = capsys.readouterr().out
    assert f"continuing runs/{run.name} from step" in told and "stopped by SIGTERM" in told
    assert list((tmp_path / "traces").iterdir()) == [trace]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for kind in ("train", "val"):
        steps = [m["step"] for m in lines if m["kind"] == kind]
        assert steps == sorted(set(steps)) and len(steps) >= 3
