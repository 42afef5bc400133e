"""What a run records while it trains: metrics.jsonl, which trackers show."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from flowseg.bounds import MOST_EPOCHS, MOST_STEPS
from flowseg.errors import UserError
from flowseg.files import naming, parse_json, write_text
from flowseg.progress import console
from flowseg.runs.tensorboard import Events
from flowseg.runs.trackers import Guarded, Point

METRICS_FILE = "metrics.jsonl"
_LARGEST = float(np.finfo(np.float32).max)  # of what a step measures


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics.jsonl. A last line that is not finished is left out, and reported.

    Raises:
        UserError: a line is not a measurement as `Log` writes it.
    """
    path = run / METRICS_FILE
    if not path.exists():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:  # every finished line ends in a line feed
        console.print(f"NOTE: {path}: its last line is not finished, as after a kill; it is left out")
    return [_measurement(line, path, number) for number, line in enumerate(lines, 1)]


def _measurement(line: bytes, path: Path, number: int) -> Any:
    try:
        found = parse_json(line)
        wrong = _wrong(found)
    except (ValueError, OverflowError) as error:
        wrong = str(error)
    if wrong is not None:
        raise UserError(f"{path}: is not a run's log (line {number}: {wrong}); restore it, or remove that line")
    return found


def _wrong(found: Any) -> str | None:
    """Returns what is wrong with a measurement; None: nothing."""
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        return "no object with a kind"
    for name in ("step", "steps") if found["kind"] == "train" else ("step",):
        value = found.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= found["step"] <= MOST_STEPS:
            return f"{name} = {value!r}"
    needed = {"val": ("epoch", "dice"), "train": ("epoch", "loss")}.get(found["kind"], ("epoch",))
    for name in dict.fromkeys((*needed, *found)):
        value = found.get(name)
        # A line has null where no step was finite.
        if name == "kind" or (value is None and name in found and name not in ("epoch", "dice")):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= _LARGEST:
            return f"{name} = {value!r}"
    return None if 0 < found["epoch"] <= MOST_EPOCHS else f"epoch = {found['epoch']!r}"


class NoLog:
    """Records nothing: the log of a process that is not the first of its training."""

    def write(self, kind: str, step: int, epoch: float, values: dict[str, Any]) -> None: ...

    def image(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None: ...

    def close(self) -> None: ...


class Log(NoLog):
    """Writes each measurement once, and shows it in TensorBoard and other trackers.

    In a resumed run, the lines of steps that will be taken again are removed first.

    Args:
        run: the run's folder.
        step: steps taken so far.
        validated: step of the last validation that counts.
        trackers: other trackers than TensorBoard; they stay open, for the scores.
    """

    def __init__(self, run: Path, step: int, validated: int, trackers: Sequence[Guarded] = ()):
        kept = [m for m in read_metrics(run) if m["step"] <= (step if m["kind"] == "train" else validated)]
        self._run, path = run, run / METRICS_FILE
        write_text(path, "".join(json.dumps(m) + "\n" for m in kept))
        self._file = path.open("a")
        # A step may be trained but not validated yet: then its points are hidden, and those of the training repeated.
        purge = step + 1 if validated == step else step
        self._events = Guarded("TensorBoard", lambda: Events(run / "tensorboard", purge))
        self._trackers = [self._events, *trackers]
        self._show(kept)

    def write(self, kind: str, step: int, epoch: float, values: dict[str, Any]) -> None:
        """Writes one measurement: a line of metrics.jsonl, and points `kind/name` in the trackers."""
        line = {"kind": kind, "step": step, "epoch": round(epoch, 4) or epoch, **values}  # it is never 0
        with naming(self._run):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        self._show([line])

    def _show(self, lines: Sequence[dict[str, Any]]) -> None:
        points = [point for line in lines for point in _points(**line)]
        for tracker in self._trackers:
            tracker.show(points)

    def image(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Shows a picture in the trackers."""
        for tracker in self._trackers:
            tracker.picture(name, step, picture)

    def close(self) -> None:
        """Closes the files."""
        self._events.close(finished=True)
        with naming(self._run):
            self._file.close()


def _points(kind: str, step: int, epoch: float, **values: Any) -> Iterator[Point]:
    prefix = f"{kind}/stage{values['stage']}" if "stage" in values else kind
    for name, value in values.items():
        if name != "stage" and isinstance(value, int | float):
            yield Point(f"{prefix}/{name}", step, value)
