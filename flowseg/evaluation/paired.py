"""Two conditions on the same images: differences image by image, their interval, test and power."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata, wilcoxon

from flowseg.evaluation.metrics import bootstrap_mean

Z_INTERVAL, Z_POWER = 1.96, 0.84
"""Normal quantiles: of a two-sided 5 % test, and of the 80 % of repetitions in which it shall find a difference."""

_DIGITS = 12  # differences of ratios of counts carry rounding noise of 1e-16, which would break ties between ranks


@dataclass(frozen=True)
class Paired:
    """First minus second, over images."""

    mean: float
    low: float
    high: float
    """Bootstrap 95 % interval of the mean over images."""
    p: float
    """Wilcoxon signed-rank, two-sided."""
    n: int
    """Images."""
    changed: int
    """Images whose difference is not zero."""
    detectable: float
    """The smallest mean difference that this many images of this spread show in 80 % of repetitions."""


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Paired:
    """Paired comparison of one value per image.

    Args:
        first, second: finite values in the same order of images; at least two.
        seed: seeds the bootstrap's draws.

    Raises:
        ValueError: lengths differ, fewer than two images, or a value that is not finite.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"need two or more images with both values, got {len(first)} and {len(second)}")
    differences = paired_differences(first, second)
    interval = bootstrap_mean(list(differences), seed=seed)
    return Paired(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        p=wilcoxon_p(differences),
        n=interval.n,
        changed=int(np.count_nonzero(differences)),
        detectable=detectable(differences),
    )


def paired_differences(first: Sequence[float], second: Sequence[float]) -> Float64[np.ndarray, " n"]:
    """First minus second, with rounding noise taken off."""
    return np.round(np.asarray(first, np.float64) - np.asarray(second, np.float64), _DIGITS) + 0.0


def wilcoxon_p(differences: Float64[np.ndarray, " n"]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (1945): are positive and negative differences alike?

    Zero differences are left out, as in Wilcoxon's paper; where all are zero, p is 1.
    """
    kept = differences[differences != 0]
    return float(wilcoxon(kept).pvalue) if len(kept) else 1.0


def detectable(differences: Float64[np.ndarray, " n"]) -> float:
    """The mean difference found in 80 % of repetitions at the 5 % level: 1.96 + 0.84 standard errors.

    Two images or more. 0 where all differences are equal: such data show nothing of their spread.
    """
    return float((Z_INTERVAL + Z_POWER) * differences.std(ddof=1) / np.sqrt(len(differences)))


def images_needed(n: int, smallest: float, target: float) -> int:
    """Images that find a mean difference of `target` in 80 % of repetitions, where n of them find `smallest`.

    What can be found falls with the square root of their number.
    """
    return max(2, math.ceil(n * (smallest / abs(target)) ** 2))


def rank_biserial(differences: Float64[np.ndarray, " n"]) -> float:
    """Effect size of Wilcoxon's test: the matched-pairs rank-biserial correlation (Kerby 2014).

    The share of the ranks' sum that belongs to positive differences minus the share of negative ones: from -1 (all
    below zero) to 1 (all above). Zero differences are left out; 0 where all are zero.
    """
    kept = differences[differences != 0]
    if not len(kept):
        return 0.0
    ranks = rankdata(np.abs(kept))
    return float((ranks * np.sign(kept)).sum() / ranks.sum())


def holm(ps: Sequence[float]) -> list[float]:
    """p values of several tests, corrected so that one false find among all of them has at most its p (Holm 1979).

    The smallest is multiplied by their number, the next by one less, and so on; none falls below one before it.
    """
    corrected = [0.0] * len(ps)
    floor = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        floor = max(floor, min(1.0, ps[i] * (len(ps) - rank)))
        corrected[i] = floor
    return corrected


def smallest_p(n: int, tests: int) -> float:
    """The smallest Holm-corrected p that n images can give one of several tests: all differences of one sign."""
    return min(1.0, tests * 2.0 / 2.0**n)
