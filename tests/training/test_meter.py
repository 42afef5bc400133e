"""The speed in a line of metrics.jsonl and the trace of `--profile` count the steps that were taken in their time."""

from pathlib import Path

import jax
import numpy as np
import pytest

from flowseg.config import Config
from flowseg.training import meter as meters
from flowseg.training.meter import Meter
from flowseg.training.profile import STEPS, WAIT, StepTrace
from flowseg.training.step import METRICS


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the meter reads, which the test sets."""
    now = [0.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    return now


def take(meter: Meter, seconds: list[float], steps: int) -> None:
    """Takes steps of two seconds each."""
    for _ in range(steps):
        seconds[0] += 2
        meter.add(1, np.zeros(len(METRICS), np.float32))


def test_the_speed_is_that_of_the_steps_since_the_clock_was_started(
    tiny_config: Config, tmp_path: Path, seconds: list[float]
) -> None:
    batch = tiny_config.train.batch
    before = [dict.fromkeys(METRICS, 0.0)] * 3  # of an earlier start
    meter = Meter(before, tiny_config, tmp_path)
    take(meter, seconds, 2)
    assert {"steps": 5, "images_per_s": batch / 2}.items() <= meter.line().items()
    take(meter, seconds, 3)
    meter.settle()
    seconds[0] += 100  # a validation
    meter.restart_clock()
    take(meter, seconds, 1)
    assert {"steps": 4, "images_per_s": batch / 2}.items() <= meter.line().items()


def test_without_a_step_since_then_there_is_no_speed(
    tiny_config: Config, tmp_path: Path, seconds: list[float]
) -> None:
    meter = Meter([dict.fromkeys(METRICS, 0.0)], tiny_config, tmp_path)
    seconds[0] += 1
    assert meter.line()["images_per_s"] is None


@pytest.mark.parametrize(
    ("first", "total", "stopped", "traced"),
    [
        (0, 100, 100, list(range(WAIT, WAIT + STEPS))),
        (90, 97, 97, [95, 96]),
        (0, 3, 3, [2]),
        (0, 100, 4, "ended before step 5"),
        (3, 3, 3, "had no step left"),
    ],
)
def test_a_trace_is_written_or_it_is_said_why_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: int,
    total: int,
    stopped: int,
    traced: list[int] | str,
) -> None:
    running, found = [False], []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: running.__setitem__(0, True))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: running.__setitem__(0, False))
    trace = StepTrace(tmp_path, first, total)
    for step in range(first, stopped):
        trace.before(step)
        if running[0]:
            found.append(step)
    trace.close()
    said = capsys.readouterr().out
    if isinstance(traced, str):
        assert found == [] and f"no trace is written, because the training {traced}" in " ".join(said.split())
    else:
        assert (
            found == traced and not running[0] and said.startswith(f"a trace of the steps from {traced[0]} on is in")
        )
