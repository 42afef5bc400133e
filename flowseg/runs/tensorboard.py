"""TensorBoard's event files, written point by point."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar

from flowseg.runs.trackers import Point

_PLACES = {"val": "1_val", "film": "2_film", "train": "3_train"}
"""TensorBoard sorts by name: the validation Dice comes first, then the statistics of FiLM."""


class Events:
    """A tracker that writes a new event file into a folder.

    Each point is on its way to the disk when its call returns. tensorboardX's SummaryWriter leaves that to a thread:
    a killed process loses what the thread has not written yet, and a full disk ends the thread, which nobody notices.

    Args:
        folder: TensorBoard's folder of the run; it is made if it does not exist.
        purge: points of earlier files from this step on are hidden; those before it are not written again.
    """

    def __init__(self, folder: Path, purge: int):
        folder.mkdir(exist_ok=True)
        self._purge = purge
        # The time in the name counts seconds; two starts within one would share a file.
        self._writer = EventsWriter(str(folder.absolute() / "events"), f".{time.time_ns()}")
        self._write(Event(step=purge, session_log=SessionLog(status=SessionLog.START)))

    def show(self, points: Sequence[Point]) -> None:
        """Writes points of curves."""
        for name, step, value in points:
            if step is not None and step >= self._purge:  # a score is no curve
                self._write(Event(step=step, summary=scalar(_placed(name), value)))

    def picture(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a picture."""
        self._write(Event(step=step, summary=image(_placed(name), picture, dataformats="HWC")))

    def close(self, finished: bool) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
        self._writer.flush()


def _placed(name: str) -> str:
    kind, slash, rest = name.partition("/")
    return _PLACES[kind] + slash + rest
