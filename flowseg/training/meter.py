"""What the steps measure: read back one step late, averaged over the steps of a log line."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from flowseg.config import Config
from flowseg.errors import UserError
from flowseg.progress import Task
from flowseg.training.step import METRICS


class Meter:
    """Collects the metrics of each step and averages them over the steps of a line of metrics.jsonl.

    Args:
        window: metrics of the steps since the last line, kept by the caller across interruptions.
        config: the run's.
        run: its folder, for messages.
    """

    def __init__(self, window: list[dict[str, float]], config: Config, run: Path):
        self.window = window
        self._config = config
        self._run = run
        self._pending: tuple[int, Float[Array, " m"]] | None = None
        self._speed = self._last_note = ""
        self.restart_clock()

    def add(self, step: int, metrics: Float[Array, " m"]) -> None:
        """Takes the metrics of one step; those of the step before are read while this one computes."""
        self.settle()
        self._pending = step, metrics

    def settle(self) -> None:
        """Waits for the last step's metrics.

        Raises:
            UserError: loss or gradient was not finite for `train.max_bad_steps` steps in a row.
        """
        if self._pending is None:
            return
        step, metrics = self._pending
        values = dict(zip(METRICS, np.asarray(jax.device_get(metrics)).tolist(), strict=True))
        self._pending = None
        self.window.append(values)
        self._timed += 1
        if values["bad_run"] >= self._config.train.max_bad_steps:
            raise UserError(
                f"{self._run}: loss or gradient was not finite for {values['bad_run']:.0f} steps in a row "
                f"(step {step}); {self._remedy()}"
            )

    def _remedy(self) -> str:
        optim = self._config.optim
        rates = f"optim.lr (now {optim.lr:g})"
        if optim.rule == "muon":
            rates = f"optim.muon_lr (now {optim.muon_lr:g}), {rates}"
        float32 = "" if self._config.precision == "float32" else ", or train in float32"
        return f"lower {rates} or optim.clip_norm{float32}"

    def restart_clock(self) -> None:
        """Leaves what came since the last line out of the speed."""
        self._started, self._timed = time.monotonic(), 0

    def line(self) -> dict[str, Any]:
        """Returns one line for the steps since the last, and begins the next.

        Its `images_per_s` is the speed since the clock was last restarted, or None if no step was taken since then.
        """
        self.settle()
        seconds = time.monotonic() - self._started
        good = [m for m in self.window if np.isfinite(m["loss"])]
        images = self._timed * self._config.train.batch / max(seconds, 1e-9)
        self._speed = f"{images:.1f} images/s" if self._timed else ""
        self._last_note = self._note()
        last = self.window[-1]
        values = {
            "steps": len(self.window),
            "loss": float(np.mean([m["loss"] for m in good])) if good else None,
            "grad_norm": float(np.mean([m["grad_norm"] for m in good])) if good else None,
            "lr": last["lr"],
            "skipped": int(last["skipped"]),
            "images_per_s": round(images, 2) if self._timed else None,
        }
        self.window.clear()
        self.restart_clock()
        return values

    def show(self, progress: Task) -> None:
        """Advances a progress display by one step, with the mean loss beside it."""
        progress.advance(1, self._note())

    def _note(self) -> str:
        losses = [m["loss"] for m in self.window if np.isfinite(m["loss"])]
        return f"loss {np.mean(losses):.4f}  {self._speed}" if losses else self._last_note
