"""TensorBoard's event files, written point by point."""

import time
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar


class Events:
    """A new event file in a folder.

    Each point is on its way to the disk when its call returns. tensorboardX's SummaryWriter leaves that to a thread:
    a killed process loses what the thread has not written yet, and a full disk ends the thread, which nobody notices.

    Args:
        folder: TensorBoard's folder of the run; it is made if it does not exist.
        purge: points of earlier files from this step on are hidden.
    """

    def __init__(self, folder: Path, purge: int):
        folder.mkdir(exist_ok=True)
        # The time in the name counts seconds; two starts within one would share a file.
        self._writer = EventsWriter(str(folder.absolute() / "events"), f".{time.time_ns()}")
        self._write(Event(step=purge, session_log=SessionLog(status=SessionLog.START)))

    def scalar(self, name: str, step: int, value: float) -> None:
        """Writes a point of a curve."""
        self._write(Event(step=step, summary=scalar(name, value)))

    def image(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a picture."""
        self._write(Event(step=step, summary=image(name, picture, dataformats="HWC")))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
        self._writer.flush()
