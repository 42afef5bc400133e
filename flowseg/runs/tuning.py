"""The tuned mask rule, threshold and minimum component size: chosen on the validation split, and kept with the run."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.special import stdtrit

from flowseg.config import EvalConfig
from flowseg.errors import UserError, counted
from flowseg.files import parse_json, write_text
from flowseg.progress import console
from flowseg.runs.flat import description_digest
from flowseg.sampling.mask import FIXED, MaskRule, components, dice_by_threshold

GRID = tuple(k / 100 for k in range(1, 100))
"""The thresholds that tuning chooses from; FIXED is one of them."""
SIZES = (0, 5, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000)
"""The sizes in pixels that tuning chooses from: smaller components are removed; 0 keeps all."""
DICE_LOSS = 0.002
"""A removal may lower Dice by less than this."""
FILE = "threshold.json"
"""Where a run keeps what was tuned."""
SPLIT = "val"

_DIGITS = 12  # means of equal values differ by rounding noise, which would decide between them

Probabilities = Sequence[Float32[np.ndarray, "h w"]]
Truths = Sequence[Bool[np.ndarray, "h w"]]


@dataclass(frozen=True)
class Removal:
    """The size below which components are removed at a threshold, and means over the validation images."""

    min_component: int
    dice: float
    betti0_error: float
    dice_all: float
    """With all components."""
    betti0_error_all: float


@dataclass(frozen=True)
class Tuned:
    """What was tuned on the validation images, and what it gained on them."""

    threshold: float
    dice: float
    """Mean Dice at it, with all components."""
    dice_fixed: float
    """Mean Dice at FIXED, with all components."""
    images: int
    removal: Removal | None = None
    """At the tuned threshold; None in a file of an older version, as the next one."""
    removal_fixed: Removal | None = None
    """At FIXED."""

    def removal_for(self, settings: EvalConfig) -> Removal | None:
        """Returns what was tuned at the threshold that the settings ask for."""
        return self.removal_fixed if settings.threshold == "fixed" else self.removal

    def rule(self, settings: EvalConfig) -> MaskRule:
        """Returns the rule that the settings ask for."""
        threshold = FIXED if settings.threshold == "fixed" else self.threshold
        if settings.min_component != "auto":
            return MaskRule(threshold, settings.min_component)
        removal = self.removal_for(settings)
        assert removal is not None  # `kept_rule` returns no other
        return MaskRule(threshold, removal.min_component)


def dice_curve(
    probability: Float32[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]
) -> Float64[np.ndarray, " thresholds"]:
    """Returns the exact Dice of `probability > t` for every t of GRID; 1 where both masks are empty."""
    # Both sides are float32, as in `probability > t`.
    passed = np.searchsorted(np.asarray(GRID, np.float32), probability.ravel(), side="left")
    return dice_by_threshold(passed, truth.ravel(), len(GRID))


def removal_curve(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "2 sizes"]:
    """Returns Dice and Betti-0 error of a mask without its components below each of SIZES."""
    numbers, sizes = components(mask)
    hits = np.bincount(numbers[truth], minlength=len(sizes))
    kept = sizes[1:] >= np.asarray(SIZES)[:, None]  # the first one is the background
    total = kept @ sizes[1:] + np.count_nonzero(truth)
    dice = np.where(total > 0, 2 * (kept @ hits[1:]) / np.maximum(total, 1), 1.0)
    true_components = len(components(truth)[1]) - 1
    return np.stack([dice, np.abs(np.count_nonzero(kept, axis=1) - true_components)])


def best_threshold(probabilities: Probabilities, truths: Truths) -> Tuned:
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


def best_removal(probabilities: Probabilities, truths: Truths, threshold: float) -> Removal:
    """Returns the size with the least mean Betti-0 error among those of SIZES that leave Dice as it is.

    These are the sizes before the first one for which the 95 % interval of the difference that removal makes to Dice,
    paired over the images, reaches down to -DICE_LOSS. That the mean does not fall is not enough: of few images one of
    many sizes may spare the vessels by chance. Tests in a fixed order that end with the first failure keep their level
    together (Maurer et al. 1995). Of equal sizes it is the smallest; for a single image it is 0.
    """
    curves = np.stack([removal_curve(p > threshold, truth) for p, truth in zip(probabilities, truths, strict=True)])
    dice, error = np.round(curves.mean(axis=0), _DIGITS)
    passed = np.logical_and.accumulate(_low_ends(curves[:, 0] - curves[:, :1, 0]) > -DICE_LOSS)
    best = min((k for k in range(len(SIZES)) if k == 0 or passed[k]), key=lambda k: error[k])
    return Removal(SIZES[best], *(float(v) for v in (dice[best], error[best], dice[0], error[0])))


def _low_ends(differences: Float64[np.ndarray, "images sizes"]) -> Float64[np.ndarray, " sizes"]:
    """Returns the lower end of the 95 % interval of each column's mean (Student's t); -inf for a single image."""
    count, sizes = differences.shape
    if count == 1:
        return np.full(sizes, -np.inf)
    spread = differences.std(axis=0, ddof=1) / np.sqrt(count)
    return differences.mean(axis=0) - stdtrit(count - 1, 0.975) * spread


def best_rules(probabilities: Probabilities, truths: Truths) -> Tuned:
    """Returns the best threshold, then the best removal at it and at FIXED; raises as `best_threshold`."""
    tuned = best_threshold(probabilities, truths)
    removals = (best_removal(probabilities, truths, threshold) for threshold in (tuned.threshold, FIXED))
    return replace(tuned, removal=next(removals), removal_fixed=next(removals))


def tuned_rule(
    run: Path,
    settings: EvalConfig,
    step: int,
    predict: Callable[[], Iterable[tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]],
) -> MaskRule:
    """Returns the mask rule that a run keeps for a checkpoint and its sampling settings; tunes it if there is none.

    Args:
        run: the run's folder, which holds threshold.json.
        settings: how images are sampled, and what of the rule is tuned.
        step: the checkpoint's step.
        predict: yields probability and truth of the run's validation images; called only to tune.

    Raises:
        UserError: what is kept is damaged, or cannot be written.
    """
    kept = kept_rule(run, settings, step)
    if kept is not None:
        return kept.rule(settings)
    file = run / FILE
    tuned = best_rules(*zip(*predict(), strict=True))
    entry = _Entry(tuned, step, sampling(settings))
    # What was tuned for other settings stays; for another checkpoint it is of no more use.
    others = [one for one in _entries(file) if one.step == step and one.eval != entry.eval]
    content: dict[str, Any] = {
        "tuned": [{**asdict(one.tuned), "split": SPLIT, "step": step, "eval": one.eval} for one in [*others, entry]]
    }
    content["digest"] = description_digest(content)
    try:
        write_text(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        remedy = "use --threshold fixed and a number for --min-component"
        raise UserError(f"{file}: cannot be written ({error.strerror}); {remedy}") from None
    console.print(f"{_told(tuned, settings)}; kept in {file}")
    return tuned.rule(settings)


def _told(tuned: Tuned, settings: EvalConfig) -> str:
    """Returns what was tuned, in words."""
    told = []
    if settings.threshold == "tuned":
        told.append(f"Dice {tuned.dice:.4f}, at {FIXED:g} {tuned.dice_fixed:.4f}")
    removal = tuned.removal_for(settings)
    if settings.min_component == "auto" and removal is not None and removal.min_component:
        told.append(
            f"without small components Dice {removal.dice:.4f}, with them {removal.dice_all:.4f}, Betti-0 error "
            f"{removal.betti0_error:.1f}, with them {removal.betti0_error_all:.1f}"
        )
    gained = f" ({'; '.join(told)})" if told else ", all components kept"
    return f"mask rule tuned on {SPLIT} ({counted(tuned.images, 'image')}): {tuned.rule(settings)}{gained}"


def sampling(settings: EvalConfig) -> dict[str, Any]:
    """Returns the settings that what is tuned depends on."""
    return {k: v for k, v in asdict(settings).items() if k not in ("threshold", "min_component")}


def kept_rule(run: Path, settings: EvalConfig, step: int) -> Tuned | None:
    """Returns what a run keeps for a checkpoint and settings, or None if it lacks what the settings ask for.

    Raises:
        UserError: it is damaged.
    """
    for entry in _entries(run / FILE):
        if entry.step == step and entry.eval == sampling(settings):
            lacks = settings.min_component == "auto" and entry.tuned.removal_for(settings) is None
            return None if lacks else entry.tuned
    return None


@dataclass(frozen=True)
class _Entry:
    """What was tuned for one checkpoint and one way of sampling."""

    tuned: Tuned
    step: int
    eval: dict[str, Any]
    """The settings of sampling, as `sampling` returns them."""


def _entries(file: Path) -> list[_Entry]:
    """Returns all that a file holds; nothing if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not file.exists():
        return []
    try:
        content = parse_json(file.read_text())
        # Older versions wrote none.
        if "digest" in content and content["digest"] != description_digest(content):
            raise ValueError("it does not match its digest")
        return [_entry(one) for one in content.get("tuned", [content])]  # older versions kept one
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: is damaged ({type(error).__name__}: {error}); delete it, it is made again") from None


def _entry(content: dict[str, Any]) -> _Entry:
    removals = [Removal(**content[name]) if content.get(name) else None for name in ("removal", "removal_fixed")]
    tuned = Tuned(*(content[name] for name in ("threshold", "dice", "dice_fixed", "images")), *removals)
    if tuned.threshold not in GRID:
        raise ValueError(f"threshold {tuned.threshold!r}")
    for removal in removals:
        if removal is not None and removal.min_component not in SIZES:
            raise ValueError(f"min_component {removal.min_component!r}")
    return _Entry(tuned, content["step"], content["eval"])
