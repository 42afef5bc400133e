"""Where the measurements of a training are shown, besides metrics.jsonl: TensorBoard, MLflow, Weights & Biases.

A tracker is shown all measurements of its run whenever a training starts, those of earlier starts too, and takes what
it does not hold yet. So one that is chosen late, or has failed before, has no gaps, and none has a point twice.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, get_args

import numpy as np
from jaxtyping import UInt8

from flowseg.config import TrackerName
from flowseg.errors import UserError, pip_install
from flowseg.files import parse_json, write_text
from flowseg.progress import warn
from flowseg.runs.folder import Run

TITLES: dict[TrackerName, str] = {"mlflow": "MLflow", "wandb": "Weights & Biases"}
IDS_FILE = "tracking.json"
"""Holds the identity of the run in each tracker, so that a resumed training continues it."""


class Point(NamedTuple):
    """A point of a curve (`val/dice`, `train/loss`, `film/stage0/gamma_mean`, ...) or a score (`test/dice`, ...)."""

    name: str
    step: int | None
    """None: a score of the trained network, which belongs to no curve."""
    value: float


class Tracker(Protocol):
    """Shows the measurements of one run."""

    def show(self, points: Sequence[Point]) -> None:
        """Shows points; those that it holds from an earlier start are left out. Steps never decrease."""

    def picture(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Shows a picture."""

    def close(self, finished: bool) -> None:
        """Ends; `finished` says whether the training has come to its end."""


class Guarded:
    """A tracker whose failure is a warning, after which it gets nothing more: it never ends a training."""

    def __init__(self, title: str, make: Callable[[], Tracker]):
        self._title = title
        self._tracker: Tracker | None = None
        with self._told():
            self._tracker = make()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tracker = None
            said = " ".join(str(error).split()) or type(error).__name__
            warn(f"{self._title}: {said[:300]}; it gets nothing more, and the training goes on")

    def show(self, points: Sequence[Point]) -> None:
        """Shows points, if the tracker still works."""
        if self._tracker is not None:
            with self._told():
                self._tracker.show(points)

    def picture(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Shows a picture, if the tracker still works."""
        if self._tracker is not None:
            with self._told():
                self._tracker.picture(name, step, picture)

    def close(self, finished: bool) -> None:
        """Ends the tracker, if it still works."""
        if self._tracker is not None:
            with self._told():
                self._tracker.close(finished)


class Tracking(AbstractContextManager["Tracking"]):
    """The trackers of a training, which are closed when the block ends: as finished, unless by an exception.

    Args:
        run: the run, which is continued in the trackers that it has used before.
        names: which trackers; none are opened until `open` is called.
    """

    def __init__(self, run: Run, names: Sequence[TrackerName]):
        self._run, self._names = run, names
        self._opened: list[Guarded] = []

    def open(self) -> Sequence[Guarded]:
        """Opens the trackers, and returns them to whoever shows them the curves."""
        names = [name for name in get_args(TrackerName) if name in self._names]
        self._opened = [Guarded(TITLES[name], partial(_opened, self._run, name)) for name in names]
        return self._opened

    def show_scores(self, split: str, scores: Mapping[str, float | None]) -> None:
        """Shows the scores of the trained network on a split in those that are open; None is no score."""
        points = [Point(f"{split}/{name}", None, value) for name, value in scores.items() if value is not None]
        for tracker in self._opened:
            tracker.show(points)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for tracker in self._opened:
            tracker.close(finished=kind is None)


def check_installed(names: Sequence[TrackerName]) -> None:
    """Raises a UserError for the first tracker whose package is not installed."""
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder of that name is no package
            remedy = f"install it with: {pip_install(f'flowseg[{name}]')}"
            raise UserError(f"--track {name}: {TITLES[name]} is not installed; {remedy}")


def _opened(run: Run, name: TrackerName) -> Tracker:
    """Opens a tracker and keeps the run's identity in it."""
    ids = read_ids(run.path)
    tracker: Any
    if name == "mlflow":
        from flowseg.runs.mlflow import MlflowTracker

        tracker = MlflowTracker(run, ids.get(name))
    else:
        from flowseg.runs.wandb import WandbTracker

        tracker = WandbTracker(run, ids.get(name))
    write_text(run.path / IDS_FILE, json.dumps({**ids, name: tracker.identity}, indent=1) + "\n")
    return tracker


def title_of(run: Run) -> str:
    """Returns what a tracker calls a run: the name of its folder, and that of its config if the folder lacks it."""
    folder, name = run.path.absolute().name, run.config.name
    return folder if folder.startswith(name) else f"{name} {folder}"


def read_ids(run: Path) -> dict[str, dict[str, str]]:
    """Returns the identity of a run in each tracker that it has used."""
    path = run / IDS_FILE
    if not path.is_file():
        return {}
    try:
        found = parse_json(path.read_text())
        return {name: {key: str(value) for key, value in ids.items()} for name, ids in found.items()}
    except (ValueError, AttributeError):
        raise UserError(f"{path}: cannot be read; remove it to begin new runs in the trackers") from None
