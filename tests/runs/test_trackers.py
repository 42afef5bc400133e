"""Trackers: they hold every point once, over kills and late choices, and never end a training."""

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_run
from refusals import refusal

from flowseg.errors import pip_install
from flowseg.runs.folder import Run, open_run
from flowseg.runs.log import METRICS_FILE, Log, read_metrics
from flowseg.runs.trackers import IDS_FILE, Guarded, Point, check_installed


class Recorder:
    """A tracker that keeps what it is shown, and fails at its `fails`-th call."""

    def __init__(self, fails: int = 0):
        self.points: list[Point] = []
        self._calls, self._fails = 0, fails

    def _called(self) -> None:
        self._calls += 1
        if self._calls == self._fails:
            raise ConnectionError("no\nserver")

    def show(self, points: Sequence[Point]) -> None:
        self._called()
        self.points += points

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        self._called()

    def close(self, finished: bool) -> None:
        self._called()


def measure(run: Path, step: int, validated: int, trackers: Sequence[Guarded], last: int = 6) -> None:
    """Trains on from a step, with a validation at step 4."""
    log = Log(run, step, validated, trackers)
    for now in range(step, last + 1):
        if now > step:
            log.write("train", now, now / 4, {"steps": 1, "loss": 1 / now})
        if now == 4 > validated:
            log.write("val", now, 1.0, {"dice": 0.5})
            log.write("film", now, 1.0, {"stage": 0, "gamma_mean": 1.0})
            log.image("val/samples", now, np.zeros((4, 4, 3), np.uint8))
    log.close()


_LINES = [(f"train/{name}", step) for name in ("loss", "steps") for step in range(1, 7)]
CURVES = Counter([*_LINES, ("val/dice", 4), ("film/stage0/gamma_mean", 4)])
"""Every point of the training that `measure` makes, once."""
SCORES: dict[str, float | None] = {"dice": 0.8, "hd95": None}
ALL = CURVES + Counter([("test/dice", None)])


@pytest.mark.parametrize("fails", [1, 2, 5, 9])
def test_a_failing_tracker_is_one_warning_and_the_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: int
) -> None:
    broken, other = Recorder(fails), Recorder()
    measure(tmp_path, 0, -1, [Guarded("Broken", lambda: broken), Guarded("Other", lambda: other)])
    said = capsys.readouterr().out
    assert said == "WARNING: Broken: no server; it gets nothing more, and the training goes on\n"
    assert len(read_metrics(tmp_path)) == 8
    assert Counter((name, step) for name, step, _ in other.points) == CURVES


def test_a_tracker_that_cannot_be_opened_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> Recorder:
        raise RuntimeError

    measure(tmp_path, 0, -1, [Guarded("Closed", refuse)])
    assert capsys.readouterr().out == "WARNING: Closed: RuntimeError; it gets nothing more, and the training goes on\n"


def test_a_tracker_chosen_late_is_shown_what_was_measured_before(tmp_path: Path) -> None:
    measure(tmp_path, 0, -1, [], last=4)
    late = Recorder()
    measure(tmp_path, 4, 4, [Guarded("late", lambda: late)])
    assert Counter((name, step) for name, step, _ in late.points) == CURVES


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = refusal(lambda: check_installed(["wandb"]))
    remedy = f"install it with: {pip_install('flowseg[wandb]')}"
    assert told == f"--track wandb: Weights & Biases is not installed; {remedy}"


def of_mlflow(run: Run) -> Counter[tuple[str, int | None]]:
    """The points of a run in its MLflow store."""
    mlflow = pytest.importorskip("mlflow")
    ids = json.loads((run.path / IDS_FILE).read_text())["mlflow"]
    client = mlflow.MlflowClient(ids["store"])
    assert len(client.search_runs([e.experiment_id for e in client.search_experiments()])) == 1
    found = client.get_run(ids["run"])
    assert found.data.params["model.dim"] == "8" and found.info.status == "FINISHED"
    assert found.data.metrics["test/dice"] == 0.8
    points = [p for name in found.data.metrics for p in client.get_metric_history(ids["run"], name)]
    return Counter((p.key, None if p.key.startswith("test/") else p.step) for p in points)


def of_wandb(run: Run) -> Counter[tuple[str, int | None]]:
    """The points of a run in the files that Weights & Biases would upload."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (file,) = (run.path / "wandb").glob("offline-run-*/*.wandb")
    assert file.stem == "run-" + json.loads((run.path / IDS_FILE).read_text())["wandb"]["run"]
    points = Counter[tuple[str, int | None]]()
    for content in records(file.read_bytes()):
        record = pb.Record.FromString(content)
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            if not name.startswith("_"):
                points[name, record.history.step.num] += 1
        # The summary also has the last value of each curve, and the time.
        summary = ["/".join(item.nested_key) or item.key for item in record.summary.update]
        points.update((name, None) for name in summary if name.startswith("test/"))
    return points


def records(file: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: blocks of 32 KiB, in which parts have a head of 7 bytes."""
    block, place, whole = 32768, 7, b""
    while place + 7 <= len(file):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", file[place + 4 : place + 7])
        whole += file[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


START = """
import os, signal, sys
from pathlib import Path
from flowseg.runs.trackers import Tracking
from test_trackers import SCORES, measure, open_run
name, step, validated, killed = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
run = open_run(Path("run"))
with Tracking(run, [name]) as tracking:
    measure(run.path, step, validated, tracking.open())
    if killed == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    tracking.show_scores("test", SCORES)
    if killed == "after":
        os.kill(os.getpid(), signal.SIGKILL)
"""
"""A start of a training in the folder `run`: a process of its own, as the trackers have processes of their own."""


@pytest.mark.parametrize(("name", "read"), [("mlflow", of_mlflow), ("wandb", of_wandb)])
@pytest.mark.parametrize(
    ("killed", "step", "validated"),
    [("before", 0, -1), ("before", 4, -1), ("before", 4, 4), ("before", 5, 4), ("after", 6, 4)],
)
def test_a_resumed_training_continues_its_run_and_doubles_no_point(
    tmp_path: Path,
    name: str,
    read: Callable[[Run], Counter[tuple[str, int | None]]],
    killed: str,
    step: int,
    validated: int,
) -> None:
    """It is killed before or after its scores are shown, and begins again without a checkpoint or with one."""
    pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[{name}]'")
    run = open_run(make_run(tmp_path / "run"))
    (run.path / METRICS_FILE).unlink()
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}

    def start(*given: object) -> tuple[int, str, str]:
        command = [sys.executable, "-c", START, name, *map(str, given)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert start(0, -1, killed) == (-signal.SIGKILL, "", "")
    first = json.loads((run.path / IDS_FILE).read_text())
    assert start(step, validated, "not") == (0, "", "")
    assert json.loads((run.path / IDS_FILE).read_text()) == first
    assert read(run) == ALL
