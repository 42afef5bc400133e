"""The probability above which a pixel is vessel: fixed, or tuned on the validation split and kept with the run."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from flowseg.errors import UserError
from flowseg.evaluation.score import FIXED, Embeddings, Examples, score_split
from flowseg.files import write_text
from flowseg.models.network import Params
from flowseg.progress import console, task
from flowseg.sampling.windows import WindowSampler

GRID = tuple(k / 100 for k in range(1, 100))
"""The thresholds that tuning chooses from; FIXED is one of them."""
FILE = "threshold.json"
"""Where a run keeps its tuned threshold."""
SPLIT = "val"

_DIGITS = 12  # means of equal Dice values differ by rounding noise, which would decide between thresholds


@dataclass(frozen=True)
class Tuned:
    """A threshold that was chosen, and what it gained where it was chosen."""

    threshold: float
    dice: float
    """Mean Dice at it."""
    dice_fixed: float
    """Mean Dice at FIXED."""
    images: int


def dice_curve(
    probability: Float32[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]
) -> Float64[np.ndarray, " thresholds"]:
    """Dice of `probability > t` for every t of GRID, exactly; 1 where both masks are empty."""
    # Pixels by how many thresholds they pass; a float32 is compared with a float32, as in `probability > t`.
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
    """The threshold of GRID with the greatest mean Dice over images; of several, the one nearest to FIXED.

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
    sampler: WindowSampler,
    params: Params,
    step: int,
    validation: Callable[[], tuple[Examples, Embeddings | None]],
) -> Tuned:
    """The threshold that a run keeps for a checkpoint and the sampler's settings; tuned first where it has none.

    Args:
        run: the run's folder; its threshold.json is written where there is none for these settings.
        step: the checkpoint's.
        validation: gives the run's own validation split; called only to tune.

    Raises:
        UserError: the kept threshold is damaged, or cannot be written.
    """
    file = run / FILE
    settings = asdict(sampler.config.eval)
    del settings["threshold"]
    kept = _read(file, step, settings)
    if kept is not None:
        return kept
    dataset, embeddings = validation()
    with task(f"threshold on {SPLIT}", len(dataset)) as advance:
        scored = score_split(sampler, params, dataset, embeddings, lambda _: advance())
    tuned = best_threshold([item.probability for item in scored], [item.truth for item in scored])
    content = {**asdict(tuned), "split": SPLIT, "step": step, "eval": settings}
    try:
        write_text(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); use the fixed threshold") from None
    console.print(
        f"threshold {tuned.threshold:g} tuned on {SPLIT} ({tuned.images} images): "
        f"Dice {tuned.dice:.4f}, at {FIXED:g} {tuned.dice_fixed:.4f}; kept in {file}"
    )
    return tuned


def _read(file: Path, step: int, settings: dict[str, Any]) -> Tuned | None:
    """The kept threshold; None where there is none, or one of another checkpoint or other settings."""
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text())
        if content["step"] != step or content["eval"] != settings:
            return None
        tuned = Tuned(*(content[name] for name in ("threshold", "dice", "dice_fixed", "images")))
        if tuned.threshold not in GRID:
            raise ValueError(f"threshold {tuned.threshold!r}")
        return tuned
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: is damaged ({type(error).__name__}: {error}); delete it, it is made again") from None
