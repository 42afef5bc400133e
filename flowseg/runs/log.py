"""What a run records: metrics.jsonl, TensorBoard, FiLM statistics."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8
from tensorboardX import SummaryWriter

from flowseg.files import write_text

METRICS_FILE = "metrics.jsonl"


def film_statistics(
    films: Sequence[tuple[Float[Array, "n c"], Float[Array, "n c"]]],
    stages: Sequence[int],
    condition: Float[Array, "n d"],
) -> list[dict[str, float]]:
    """How far each stage's modulation is from none, and how much of it depends on the image.

    Means over images and channels of |gamma - 1| and |beta|; `*_between` is the standard deviation over images,
    averaged over channels: 0 where every image gets the same modulation. `condition_norm` is the mean length of the
    condition vectors, `condition_between` their standard deviation over images, averaged over entries.
    """
    vectors = np.asarray(condition, np.float64)
    about = {
        "condition_norm": float(np.linalg.norm(vectors, axis=1).mean()),
        "condition_between": float(vectors.std(0).mean()),
    }
    rows = []
    for stage, (gamma, beta) in zip(stages, films, strict=True):
        g, b = np.asarray(gamma, np.float64), np.asarray(beta, np.float64)
        rows.append(
            {
                "stage": stage,
                "gamma_mean": float(g.mean()),
                "gamma_change": float(np.abs(g - 1).mean()),
                "gamma_between": float(g.std(0).mean()),
                "beta_mean": float(b.mean()),
                "beta_change": float(np.abs(b).mean()),
                "beta_between": float(b.std(0).mean()),
                **about,
            }
        )
    return rows


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line cut off by a crash is left out."""
    path = run / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    # Every whole line ends in a line feed: what follows the last one was not finished.
    return [json.loads(line) for line in lines[:-1]]


class Telemetry:
    """Writes measurements, each once.

    On a resumed run, lines of later steps (made again from here) are taken out first.

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
        """One measurement: a line of metrics.jsonl, and TensorBoard scalars `kind/name`."""
        self._file.write(json.dumps({"kind": kind, "step": step, "epoch": round(epoch, 4), **values}) + "\n")
        self._file.flush()
        prefix = f"{kind}/stage{values['stage']}" if "stage" in values else kind
        for name, value in values.items():
            if name != "stage" and isinstance(value, int | float):
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def image(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """A picture in TensorBoard."""
        self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Writes out what is buffered."""
        self._file.close()
        self._writer.close()
