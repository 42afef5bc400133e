"""All metrics of one image, those of overlap defined here, and intervals of their mean over images.

The others are in `topology` (clDice, Betti errors), `surface` (distances between outlines) and `soft` (probabilities
before a threshold). docs/evaluation.md lists them all and says which to trust for what.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from flowseg.evaluation.soft import SOFT, soft_metrics
from flowseg.evaluation.surface import SURFACE, surface_metrics
from flowseg.evaluation.topology import TOPOLOGY, Shape, topology_metrics

OVERLAP = ("dice", "iou", "precision", "recall", "specificity")
"""The keys of `overlap_metrics`, in the order in which tables show them."""

MASK_METRICS = (*OVERLAP, *TOPOLOGY, *SURFACE, "density_error")
"""The keys of `mask_metrics`."""

METRICS = (*MASK_METRICS, *SOFT)
"""The keys of `image_metrics`."""

LOWER_IS_BETTER = frozenset({"betti0_error", "betti1_error", "hd95", "assd", "density_error", "ece", "brier"})
"""Those of `METRICS` that are errors: 0 is best. Of the others 1 is."""

_DRAWS_PER_BLOCK = 4_000_000  # bounds the memory of the bootstrap's index table to 32 MB


@dataclass(frozen=True)
class Interval:
    """The mean of n values and its confidence interval; low and high are nan when n is 1, mean too when it is 0."""

    mean: float
    low: float
    high: float
    n: int


def _ratio(numerator: int, denominator: int, if_empty: float) -> float:
    return numerator / denominator if denominator else if_empty


def overlap_metrics(prediction: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> dict[str, float]:
    """Compare a predicted mask with the true one, pixel by pixel.

    With TP, FP, FN and TN the numbers of true-positive, false-positive, false-negative and true-negative
    pixels:

    =========== ======================= ==========================================================
    key         definition              where the denominator is 0
    =========== ======================= ==========================================================
    dice        2 TP / (2 TP + FP + FN) both masks empty: 1
    iou         TP / (TP + FP + FN)     both masks empty: 1
    precision   TP / (TP + FP)          nothing predicted: 1 if the true mask is empty too, else 0
    recall      TP / (TP + FN)          no true pixel: 1
    specificity TN / (TN + FP)          no background pixel: 1
    =========== ======================= ==========================================================

    Sources: dice of Dice (Ecology 1945), also called F1; iou of Jaccard (New Phytologist 1912).

    Args:
        prediction: the predicted mask, bool.
        truth: the true mask, bool, of the same shape.

    Returns:
        One value in [0, 1] for each name in `OVERLAP`, in that order.

    Raises:
        ValueError: the shapes differ, or a mask is not bool (a {0, 255} mask would be counted wrongly).
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, truth has shape {truth.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be bool, got {prediction.dtype} and {truth.dtype}")
    tp = int(np.count_nonzero(prediction & truth))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    tn = truth.size - tp - fp - fn
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "iou": _ratio(tp, tp + fp + fn, 1.0),
        "precision": _ratio(tp, tp + fp, 1.0 if fn == 0 else 0.0),
        "recall": _ratio(tp, tp + fn, 1.0),
        "specificity": _ratio(tn, tn + fp, 1.0),
    }


def mask_metrics(prediction: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> dict[str, float | None]:
    """Everything that two masks tell: `overlap_metrics`, `topology_metrics`, `surface_metrics` and the density error.

    density_error is |density of the prediction - density of the truth|, where a mask's vessel density is the share of
    the image's pixels in it (vessel area density, Chu et al., J. Biomed. Opt. 2016), in [0, 1]. It has no sign, counts
    the whole image and not a field of view, and is 0 where both masks are empty.

    Returns:
        One value for each name in `MASK_METRICS`; None for one that does not exist (see `surface_metrics`).

    Raises:
        ValueError: the masks are not bool of two dimensions and one shape with at least one pixel.
    """
    if not truth.size:
        raise ValueError(f"need masks with at least one pixel, got {truth.shape}")
    return {
        **overlap_metrics(prediction, truth),
        **topology_metrics(Shape(prediction), Shape(truth)),
        **surface_metrics(prediction, truth),
        "density_error": abs(float(prediction.mean()) - float(truth.mean())),
    }


def image_metrics(
    probability: Float[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"], threshold: float = 0.5
) -> dict[str, float | None]:
    """All metrics of one image: `mask_metrics` of the thresholded prediction, `soft_metrics` of the probabilities.

    Args:
        probability: of vessel, in [0, 1], at the size at which the image is to be judged.
        truth: the true mask, bool, of the same shape.
        threshold: a pixel is predicted vessel where its probability exceeds it.

    Returns:
        One value for each name in `METRICS`; None for one that does not exist for this image, such as a distance to
        an empty mask.

    Raises:
        ValueError: as `soft_metrics`, or a threshold outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
    soft = soft_metrics(probability, truth)  # first: it checks the probabilities
    return {**mask_metrics(probability > threshold, truth), **soft}


def bootstrap_mean(
    values: Sequence[float], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """The mean of one value per image with its percentile-bootstrap interval (Efron, 1979).

    Images are drawn with replacement `resamples` times; the interval spans the central `level` of the
    means of the draws. The same arguments give the same interval.

    Args:
        values: one finite value per image; at least one.
        seed: seeds the draws.
        resamples: the number of draws, at least 1.
        level: the coverage aimed at, between 0 and 1.

    Returns:
        The mean and interval. One value has no spread to draw from: low and high are then nan.

    Raises:
        ValueError: no values, a value that is not finite, or resamples or level out of range.
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
