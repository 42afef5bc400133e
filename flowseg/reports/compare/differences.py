"""Differences between set-ups: over test images, over seeds, and over the validations during training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

import numpy as np
from jaxtyping import Float64
from scipy.stats import t, ttest_ind, ttest_rel

from flowseg.evaluation.metric_table import is_better
from flowseg.evaluation.metrics import bootstrap_mean
from flowseg.evaluation.paired import (
    POWER,
    compare,
    fewest,
    holm,
    images_needed,
    paired_differences,
    rank_biserial,
)
from flowseg.reports.compare.scores import Values

LEVEL = 0.95

Series = dict[int, float]
"""Dice by epoch."""


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval, which is None for a single value."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Test:
    """One metric of two groups on the same test images; differences are the second minus the first."""

    metric: str
    a: str
    b: str
    n: int
    """Images on which both have the metric."""
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    """Bootstrap 95 % interval of the mean difference over images."""
    p: float | None
    """Wilcoxon signed-rank, two-sided."""
    p_holm: float | None
    """Corrected over all tests of the report."""
    effect: float | None
    """Matched-pairs rank-biserial correlation, -1 to 1."""
    detectable: float | None
    """The mean difference that these images would show in 80 % of repetitions, after Holm's correction."""
    images_needed: int | None
    """The number of images that would show a difference of the size found in 80 % of repetitions, after it."""
    low_a: float | None = None
    high_a: float | None = None
    low_b: float | None = None
    high_b: float | None = None
    """Bootstrap 95 % intervals of the two means over these images."""

    @property
    def better(self) -> str | None:
        """The group with the better mean, whether or not that is more than chance."""
        return better(self.metric, self.a, self.b, self.difference)


@dataclass(frozen=True)
class SeedTest:
    """A value of each training, compared between two groups over their seeds; the second minus the first."""

    metric: str
    a: str
    b: str
    n_a: int
    n_b: int
    paired: bool
    """Whether both groups have the same seeds, which were then compared in pairs."""
    difference: float
    low: float
    high: float
    """95 % interval: Student's t of the pairs, or Welch's."""
    p: float
    """Of the same test, two-sided."""
    detectable: float
    """The smallest difference that as many seeds with this spread would show in 80 % of repetitions."""


@dataclass(frozen=True)
class Course:
    """Validation Dice of two groups at the epochs that both measured; differences are the second minus the first."""

    a: str
    b: str
    n: int
    difference: float | None
    low: float | None
    high: float | None
    """95 % interval, None for fewer than three epochs."""
    independent: float | None
    """The number of independent epochs that these are worth, since neighbours are correlated."""
    ahead_a: int
    ahead_b: int
    """Epochs at which each had the higher Dice."""
    p: float | None = None
    """Two-sided, of the test that belongs to the interval."""


def better(metric: str, a: str, b: str, difference: float | None) -> str | None:
    """The group that a difference (b minus a) speaks for; None for neither or an unknown metric."""
    if difference is None:
        return None
    return b if is_better(metric, difference, 0) else a if is_better(metric, 0, difference) else None


def image_mean(values: Values) -> Mean | None:
    """Mean over the images that have a value, with its bootstrap interval; None if no image has one."""
    kept = values[np.isfinite(values)]
    if not len(kept):
        return None
    found = bootstrap_mean(list(kept))
    return Mean(found.mean, None, None, 1) if found.n == 1 else Mean(found.mean, found.low, found.high, found.n)


def image_tests(groups: dict[str, dict[str, Values]]) -> list[Test]:
    """Every metric of every two groups, image by image in one order, with Holm's correction over all of them."""
    cases = [(metric, a, b) for a, b in combinations(groups, 2) for metric in groups[a]]
    both = [np.isfinite(groups[a][metric]) & np.isfinite(groups[b][metric]) for metric, a, b in cases]
    count = sum(int(kept.sum()) > 1 for kept in both)
    tests = [
        _image_test(metric, a, b, groups[a][metric][kept], groups[b][metric][kept], count)
        for (metric, a, b), kept in zip(cases, both, strict=True)
    ]
    corrected = iter(holm([test.p for test in tests if test.p is not None]))
    return [replace(test, p_holm=next(corrected)) if test.p is not None else test for test in tests]


def _image_test(metric: str, a: str, b: str, first: Values, second: Values, count: int) -> Test:
    """One of `count` tests, from the values of the images that both have."""
    n = len(first)
    if n < 2:
        means = (float(first[0]), float(second[0])) if n else (None, None)
        return Test(metric, a, b, n, *means, *[None] * 8)
    one, two = list(first), list(second)
    found = compare(two, one, tests=count)
    needed = images_needed(n, found.detectable, found.mean, count) if found.mean and found.detectable else None
    values = (fmean(one), fmean(two), found.mean, found.low, found.high, found.p, None)
    effect = rank_biserial(paired_differences(two, one))
    of_a, of_b = bootstrap_mean(one), bootstrap_mean(two)
    ends = (of_a.low, of_a.high, of_b.low, of_b.high)
    return Test(metric, a, b, n, *values, effect, found.detectable, needed, *ends)


def seed_mean(values: Sequence[float]) -> Mean:
    """Mean over seeds with Student's t interval."""
    n, mean = len(values), fmean(values)
    if n < 2:
        return Mean(mean, None, None, n)
    reach = float(t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Mean(mean, mean - reach, mean + reach, n)


def seed_test(metric: str, a: str, b: str, first: dict[int, float], second: dict[int, float]) -> SeedTest:
    """Compares a value of each training over seeds.

    Runs of one seed share their order of images, crops and noise. If both groups have the same seeds, the differences
    seed by seed are tested, otherwise the two means (Welch 1947). Each group has at least two seeds.
    """
    one, two = list(first.values()), list(second.values())
    paired = first.keys() == second.keys()
    if paired:
        found = ttest_rel([second[s] for s in sorted(first)], [first[s] for s in sorted(first)])
    else:
        found = ttest_ind(two, one, equal_var=False)
    difference = fmean(two) - fmean(one)
    interval = found.confidence_interval(LEVEL)
    low, high, p, df = float(interval.low), float(interval.high), float(found.pvalue), float(found.df)
    if not np.isfinite([low, high, p]).all():  # no spread at all
        p = 0.0 if difference else 1.0
        return SeedTest(metric, a, b, len(one), len(two), paired, difference, difference, difference, p, 0.0)
    error = (high - low) / 2 / float(t.ppf((1 + LEVEL) / 2, df))
    detectable = error * float(t.ppf((1 + LEVEL) / 2, df) + t.ppf(POWER, df))
    return SeedTest(metric, a, b, len(one), len(two), paired, difference, low, high, p, detectable)


def seeds_needed(first: dict[int, float], second: dict[int, float], target: float) -> int:
    """The seeds per group with which `seed_test` shows a difference of `target` in 80 % of repetitions.

    The spread is that of the given values, of which there are two or more in each group: of the differences seed by
    seed where the seeds are the same, otherwise of both groups, which need not be alike.
    """
    if first.keys() == second.keys():
        variances = [np.var([second[seed] - first[seed] for seed in first], ddof=1)]
    else:
        variances = [np.var(list(group.values()), ddof=1) for group in (first, second)]
    whole = sum(variances)

    def detectable(n: int) -> float:
        degrees = (n - 1) * whole**2 / sum(one**2 for one in variances)  # Welch's; n - 1 for pairs
        return float(np.sqrt(whole / n) * (t.ppf((1 + LEVEL) / 2, degrees) + t.ppf(POWER, degrees)))

    return fewest(lambda n: detectable(n) <= target)


def course(a: str, b: str, first: Series, second: Series) -> Course:
    """Compares two validation curves at their common epochs.

    Neighbouring measurements are correlated: n of them are worth n (1 - r) / (1 + r) independent ones, where r is the
    lag-1 autocorrelation of the differences, or 0 if that is negative (Bayley and Hammersley 1946). The interval is
    Student's t for that many values.
    """
    epochs = sorted(first.keys() & second.keys())
    differences = np.array([second[epoch] - first[epoch] for epoch in epochs], np.float64)
    n = len(differences)
    ahead_a, ahead_b = int((differences < 0).sum()), int((differences > 0).sum())
    if not n:
        return Course(a, b, 0, None, None, None, None, 0, 0)
    mean = float(differences.mean())
    if n < 3:
        return Course(a, b, n, mean, None, None, None, ahead_a, ahead_b)
    r = autocorrelation(differences)
    worth = max(n * (1 - r) / (1 + r), 2.0)
    error = float(differences.std(ddof=1) / np.sqrt(worth))
    reach = float(t.ppf((1 + LEVEL) / 2, worth - 1)) * error
    p = 2 * float(t.sf(abs(mean) / error, worth - 1)) if error else float(not mean)
    return Course(a, b, n, mean, mean - reach, mean + reach, worth, ahead_a, ahead_b, p)


def autocorrelation(values: Float64[np.ndarray, " n"]) -> float:
    """The lag-1 autocorrelation, clipped to 0 to 1."""
    off = values - values.mean()
    whole = float((off**2).sum())
    return min(1.0, max(0.0, float((off[1:] * off[:-1]).sum()) / whole)) if whole else 0.0
