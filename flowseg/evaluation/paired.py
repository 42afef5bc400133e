"""Paired comparison of two conditions on the same images: mean difference, interval, test and power."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata, t, wilcoxon

from flowseg.evaluation.metrics import bootstrap_mean

LEVEL, POWER = 0.05, 0.8
"""The level of a test, after correction, and the share of repetitions in which it is to find a difference."""

_DIGITS = 12  # rounding noise of 1e-16 in the differences would break ties between ranks


@dataclass(frozen=True)
class Paired:
    """The difference of two conditions over images, first minus second."""

    mean: float
    low: float
    high: float
    """Bootstrap 95 % interval of the mean, over images."""
    p: float
    """Of Wilcoxon's signed-rank test, two-sided."""
    n: int
    """The number of images."""
    changed: int
    """The number of images whose difference is not zero."""
    detectable: float
    """See `detectable`."""


def compare(first: Sequence[float], second: Sequence[float], seed: int = 0, tests: int = 1) -> Paired:
    """Compares two conditions by one value per image, of the same images in the same order.

    `tests` is the number of tests that Holm's correction will cover; `detectable` takes it into account, p does not.
    Raises a ValueError if lengths differ, there are fewer than two images, or a value is not finite.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"need two or more images with both values, got {len(first)} and {len(second)}")
    differences = paired_differences(first, second)
    interval = bootstrap_mean(list(differences), seed=seed)
    return Paired(
        **asdict(interval),
        p=wilcoxon_p(differences),
        changed=int(np.count_nonzero(differences)),
        detectable=detectable(differences, tests),
    )


def paired_differences(first: Sequence[float], second: Sequence[float]) -> Float64[np.ndarray, " n"]:
    """First minus second, rounded so that equal values differ by exactly 0."""
    return np.round(np.asarray(first, np.float64) - np.asarray(second, np.float64), _DIGITS) + 0.0


def wilcoxon_p(differences: Float64[np.ndarray, " n"]) -> float:
    """The two-sided p value of Wilcoxon's signed-rank test (1945).

    Zero differences are left out, as in Wilcoxon's paper; if all are zero, p is 1.
    """
    kept = differences[differences != 0]
    return float(wilcoxon(kept).pvalue) if len(kept) else 1.0


def detectable(differences: Float64[np.ndarray, " n"], tests: int = 1) -> float:
    """The mean difference that at least two images with this spread show in about 80 % of repetitions.

    "Show" means: p is below 0.05 after Holm's correction for so many tests. Holm multiplies p by the number of tests
    at most, so with other differences in the family a smaller one may do. It is 0 if all differences are equal, since
    such data say nothing about the spread.
    """
    return float(differences.std(ddof=1)) * _shown(len(differences), tests)


def _shown(n: int, tests: int) -> float:
    """The mean difference that n images show in 80 % of repetitions, in standard deviations of the differences.

    It is that of the t test, of which Wilcoxon's needs pi / 3 as many images if differences are normal (Hodges and
    Lehmann 1956).
    """
    quantiles = t.ppf(1 - LEVEL / 2 / tests, n - 1) + t.ppf(POWER, n - 1)
    return float(quantiles * math.sqrt(math.pi / 3 / n))


def images_needed(n: int, smallest: float, target: float, tests: int = 1) -> int:
    """The number of images that show a mean difference of `target` if n images show `smallest`, as in `detectable`."""
    wanted = _shown(n, tests) * abs(target) / smallest
    return fewest(lambda more: _shown(more, tests) <= wanted and smallest_p(more, tests) < LEVEL)


def fewest(enough: Callable[[int], bool]) -> int:
    """The smallest n, two or more, that is enough; every larger one is enough too."""
    low, high = 2, 2
    while not enough(high):
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def rank_biserial(differences: Float64[np.ndarray, " n"]) -> float:
    """The effect size of Wilcoxon's test: the matched-pairs rank-biserial correlation (Kerby 2014).

    It is the positive differences' share of the sum of ranks minus that of the negative ones, from -1 (all are
    negative) to 1 (all are positive). Zero differences are left out; it is 0 if all are zero.
    """
    kept = differences[differences != 0]
    if not len(kept):
        return 0.0
    ranks = rankdata(np.abs(kept))
    return float((ranks * np.sign(kept)).sum() / ranks.sum())


def holm(ps: Sequence[float]) -> list[float]:
    """The p values of several tests, corrected for the number of tests by Holm's step-down method (1979).

    The smallest p value is multiplied by the number of tests, the next by one less, and so on; each is at least as
    large as the one before it, and at most 1.
    """
    corrected = [0.0] * len(ps)
    floor = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        floor = max(floor, min(1.0, ps[i] * (len(ps) - rank)))
        corrected[i] = floor
    return corrected


def smallest_p(n: int, tests: int) -> float:
    """The smallest Holm-corrected p value that one of several tests of n images can give."""
    return min(1.0, tests * 2.0 * 0.5**n)
