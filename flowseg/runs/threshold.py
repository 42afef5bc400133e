"""Tuned thresholds: chosen on the validation split, and kept with the run."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from flowseg.config import EvalConfig
from flowseg.errors import UserError
from flowseg.files import write_text
from flowseg.progress import console
from flowseg.sampling.segment import FIXED

GRID = tuple(k / 100 for k in range(1, 100))
"""The thresholds that tuning chooses from; FIXED is one of them."""
FILE = "threshold.json"
"""Where a run keeps its tuned threshold."""
SPLIT = "val"

_DIGITS = 12  # means of equal Dice values differ by rounding noise, which would decide between thresholds


@dataclass(frozen=True)
class Tuned:
    """A tuned threshold and what it gained on the validation images."""

    threshold: float
    dice: float
    """Mean Dice at it."""
    dice_fixed: float
    """Mean Dice at FIXED."""
    images: int


def dice_curve(
    probability: Float32[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]
) -> Float64[np.ndarray, " thresholds"]:
    """Returns the exact Dice of `probability > t` for every t of GRID; 1 where both masks are empty."""
    # Counts pixels by the number of thresholds that they pass. Both sides are float32, as in `probability > t`.
    passed = np.searchsorted(np.asarray(GRID, np.float32), probability.ravel(), side="left")
    all_pixels, vessel_pixels = (
        np.bincount(levels, minlength=len(GRID) + 1)[::-1].cumsum()[::-1][1:]
        for levels in (passed, passed[truth.ravel()])
    )
    total = all_pixels + np.count_nonzero(truth)
    return np.where(total > 0, 2 * vessel_pixels / np.maximum(total, 1), 1.0)


def best_threshold(
    probabilities: Sequence[Float32[np.ndarray, "h w"]], truths: Sequence[Bool[np.ndarray, "h w"]]
) -> Tuned:
    """Returns the threshold of GRID with the greatest mean Dice over images, and of equal ones the nearest to FIXED.

    Raises:
        ValueError: no images, or a probability and a truth of different shapes.
    """
    if not probabilities or [p.shape for p in probabilities] != [t.shape for t in truths]:
        raise ValueError("need one or more probabilities, each with a truth of its shape")
    curves = [dice_curve(probability, truth) for probability, truth in zip(probabilities, truths, strict=True)]
    means = np.round(np.mean(curves, axis=0), _DIGITS)
    best = max(range(len(GRID)), key=lambda k: (means[k], -abs(GRID[k] - FIXED)))
    return Tuned(GRID[best], float(means[best]), float(means[GRID.index(FIXED)]), len(curves))


def tuned_threshold(
    run: Path,
    settings: EvalConfig,
    step: int,
    predict: Callable[[], Iterable[tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]],
) -> Tuned:
    """Returns the threshold that a run keeps for a checkpoint and its sampling settings; tunes it if there is none.

    Args:
        run: the run's folder, which holds threshold.json.
        settings: how images are sampled.
        step: the checkpoint's step.
        predict: yields probability and truth of the run's validation images; called only to tune.

    Raises:
        UserError: the kept threshold is damaged, or cannot be written.
    """
    kept = kept_threshold(run, settings, step)
    if kept is not None:
        return kept
    file = run / FILE
    tuned = best_threshold(*zip(*predict(), strict=True))
    content = {**asdict(tuned), "split": SPLIT, "step": step, "eval": _sampling(settings)}
    try:
        write_text(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); use the fixed threshold") from None
    console.print(
        f"threshold {tuned.threshold:g} tuned on {SPLIT} ({tuned.images} images): "
        f"Dice {tuned.dice:.4f}, at {FIXED:g} {tuned.dice_fixed:.4f}; kept in {file}"
    )
    return tuned


def _sampling(settings: EvalConfig) -> dict[str, Any]:
    """Returns the settings that a tuned threshold depends on."""
    return {name: value for name, value in asdict(settings).items() if name != "threshold"}


def kept_threshold(run: Path, settings: EvalConfig, step: int) -> Tuned | None:
    """Returns the threshold that a run keeps, or None if it has none for this checkpoint and these settings.

    Raises:
        UserError: it is damaged.
    """
    file = run / FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        if content["step"] != step or content["eval"] != _sampling(settings):
            return None
        tuned = Tuned(*(content[name] for name in ("threshold", "dice", "dice_fixed", "images")))
        if tuned.threshold not in GRID:
            raise ValueError(f"threshold {tuned.threshold!r}")
        return tuned
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is damaged ({type(error).__name__}: {error}); delete it, it is made again") from None
