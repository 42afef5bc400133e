"""All metrics of one image, and intervals of their means over images.

flowseg.evaluation.metric_table lists the metrics and the functions that compute them. docs/evaluation.md says which to
trust for what.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowseg.evaluation.arrays import Mask, Probability, check_masks, pixels_inside
from flowseg.evaluation.metric_table import IMAGE_METRICS, IN_PLACE, MASK_METRICS
from flowseg.sampling.mask import MaskRule

_DRAWS_PER_BLOCK = 4_000_000  # limits the memory of the resampled indices to 32 MB


@dataclass(frozen=True)
class Interval:
    """The mean of n values and its confidence interval; low and high are nan if n is 1, mean too if it is 0."""

    mean: float
    low: float
    high: float
    n: int


def mask_metrics(prediction: Mask, truth: Mask, fov: Mask | None = None) -> dict[str, float | None]:
    """All metrics that two masks determine: a value for each row of `MASK_METRICS` in the metric table.

    It is None if it does not exist, such as a distance to an empty mask. With a field of view, pixels outside count
    neither as vessel nor as background. Raises a ValueError if the masks are not bool of two dimensions and one shape,
    or have no pixel that counts.
    """
    if not truth.size:
        raise ValueError(f"need masks with at least one pixel, got {truth.shape}")
    _check_fov(fov, prediction, truth)
    pixels = [pixels_inside(mask, fov) for mask in (prediction, truth)]
    in_place = [mask if fov is None else mask & fov for mask in (prediction, truth)]
    found: dict[str, float | None] = {}
    for compute in dict.fromkeys(row.of_masks for row in MASK_METRICS if row.of_masks):
        found |= compute(*(in_place if compute in IN_PLACE else pixels))
    return {row.key: found[row.key] for row in MASK_METRICS}


def _check_fov(fov: Mask | None, *arrays: np.ndarray) -> None:
    """Raises a ValueError if a field of view is not a mask of the arrays' shape, or has no pixel inside."""
    if fov is None:
        return
    for array in arrays:
        check_masks(array.shape, fov=fov)
    if not fov.any():
        raise ValueError("no pixel is inside the field of view")


def image_metrics(
    probability: Probability,
    truth: Mask,
    threshold: float = 0.5,
    fov: Mask | None = None,
    *,
    min_component: int = 0,
) -> dict[str, float | None]:
    """All metrics of one image (`prediction_metrics`), whose mask is made of the probabilities.

    Args:
        probability: of vessel, in [0, 1], at the size at which the image is to be judged.
        truth: the true mask, of the same shape.
        threshold: a pixel is predicted vessel if its probability exceeds it.
        fov: the field of view, of the same shape: pixels outside do not count. None: all count.
        min_component: connected components of the mask with fewer pixels are removed.

    Raises:
        ValueError: as `soft_metrics`, a threshold outside [0, 1], or a field of view that does not fit.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    _check_fov(fov, probability, truth)
    return prediction_metrics(probability, MaskRule(threshold, min_component).mask(probability, fov), truth, fov)


def prediction_metrics(
    probability: Probability, prediction: Mask, truth: Mask, fov: Mask | None = None
) -> dict[str, float | None]:
    """All metrics of one image: those of the probabilities, and `mask_metrics` of the mask that was made of them.

    It has a value for each row of `IMAGE_METRICS` in the metric table, None if it does not exist for this image.
    Raises a ValueError as `soft_metrics` and `mask_metrics`.
    """
    _check_fov(fov, probability, truth)
    found: dict[str, float | None] = {}
    for compute in dict.fromkeys(row.of_probability for row in IMAGE_METRICS if row.of_probability):
        # Before the masks: it checks the probabilities.
        found |= compute(pixels_inside(probability, fov), pixels_inside(truth, fov))
    found |= mask_metrics(prediction, truth, fov)
    return {row.key: found[row.key] for row in IMAGE_METRICS}


def bootstrap_mean(
    values: Sequence[float], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """The mean of one value per image with its percentile-bootstrap interval (Efron 1979).

    The images are resampled with replacement `resamples` times; the interval spans the central `level` of the
    resampled means. The same arguments give the same interval. For a single value there is none: low and high are nan.

    Raises a ValueError if there are no values, one is not finite, or resamples or level is out of range.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"need at least one value in a flat sequence, got shape {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError("values must be finite")
    if resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"resamples must be >= 1 and level in (0, 1), got {resamples} and {level}")
    n, mean = int(data.size), float(data.mean())
    if n == 1:
        return Interval(mean=mean, low=float("nan"), high=float("nan"), n=1)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, _DRAWS_PER_BLOCK // n)
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        means[start:stop] = data[rng.integers(n, size=(stop - start, n))].mean(axis=1)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(mean=mean, low=float(low), high=float(high), n=n)
