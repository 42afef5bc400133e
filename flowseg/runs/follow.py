"""Follows the log of a training that another process runs."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowseg.runs.log import METRICS_FILE


@dataclass
class Follower:
    """Reads what is new in a run's metrics.jsonl at each call."""

    run: Path
    step: int = 0
    epoch: float = 0.0
    dice: float | None = None
    """Of the last validation."""
    _read: tuple[int, int] = field(default=(0, 0), init=False)
    """Which file was read, and how many bytes of it."""

    def look(self) -> None:
        """Takes up the lines that were written since the last call; what cannot be read yet is left for the next."""
        try:
            with (self.run / METRICS_FILE).open("rb") as file:
                number, size = self._read
                inode = os.fstat(file.fileno()).st_ino
                if inode != number:  # a training that goes on writes the file anew
                    self.step, self.epoch, size = 0, 0.0, 0
                file.seek(size)
                *lines, rest = file.read().split(b"\n")
                self._read = inode, file.tell() - len(rest)
            for line in lines:
                self._take(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError):
            return

    def _take(self, line: dict[str, Any]) -> None:
        self.step, self.epoch = max(self.step, line["step"]), max(self.epoch, line["epoch"])
        if line["kind"] == "val":
            self.dice = line["dice"]
