"""What a run records while it trains: metrics.jsonl and TensorBoard."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from flowseg.files import write_text

METRICS_FILE = "metrics.jsonl"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics.jsonl; a last line cut off by a crash is left out."""
    path = run / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    # Every whole line ends in a line feed; what follows the last one was not finished.
    return [json.loads(line) for line in lines[:-1]]


class Log:
    """Writes each measurement once.

    In a resumed run, the lines of steps that will be taken again are removed first.

    Args:
        run: the run's folder.
        step: steps taken so far.
        validated: step of the last validation that counts.
    """

    def __init__(self, run: Path, step: int, validated: int):
        kept = [m for m in read_metrics(run) if m["step"] <= (step if m["kind"] == "train" else validated)]
        path = run / METRICS_FILE
        write_text(path, "".join(json.dumps(m) + "\n" for m in kept))
        self._file = path.open("a")
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, kind: str, step: int, epoch: float, values: dict[str, Any]) -> None:
        """Writes one measurement: a line of metrics.jsonl, and TensorBoard scalars `kind/name`."""
        self._file.write(json.dumps({"kind": kind, "step": step, "epoch": round(epoch, 4), **values}) + "\n")
        self._file.flush()
        prefix = f"{kind}/stage{values['stage']}" if "stage" in values else kind
        for name, value in values.items():
            if name != "stage" and isinstance(value, int | float):
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def image(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a picture to TensorBoard."""
        self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._writer.close()
