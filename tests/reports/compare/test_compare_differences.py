"""Differences over images, seeds and epochs against their definitions and by simulation."""

import numpy as np
import pytest
from scipy.stats import t

from flowseg.evaluation.metric_table import IMAGE_METRICS
from flowseg.evaluation.paired import compare, detectable, holm, images_needed
from flowseg.reports.compare.differences import (
    autocorrelation,
    better,
    course,
    image_mean,
    image_tests,
    seed_mean,
    seed_test,
    seeds_needed,
)


def test_every_metric_has_one_direction() -> None:
    for row in IMAGE_METRICS:
        assert better(row.key, "a", "b", 0.1) == ("b" if row.better == "higher" else "a")
    assert better("dice", "a", "b", 0.1) == "b" and better("dice", "a", "b", -0.1) == "a"
    assert better("hd95", "a", "b", 0.1) == "a" and better("hd95", "a", "b", -0.1) == "b"
    assert better("dice", "a", "b", 0.0) is None and better("mystery", "a", "b", 0.1) is None


def scores(seed: int, n: int = 20, **shifts: float) -> dict[str, dict[str, np.ndarray]]:
    """Two groups of scores on the same images; b is better or worse by a shift per metric."""
    rng = np.random.default_rng(seed)
    base = {metric: rng.normal(0.7, 0.1, n) for metric in shifts}
    moved = {metric: base[metric] + shift + rng.normal(0, 0.02, n) for metric, shift in shifts.items()}
    return {"a": base, "b": moved}


def test_tests_are_second_minus_first_corrected_over_all() -> None:
    groups = scores(1, dice=0.05, iou=0.0, hd95=0.01)
    groups["c"] = {metric: values + 0.01 for metric, values in groups["a"].items()}
    tests = image_tests(groups)
    assert [(one.a, one.b) for one in tests[::3]] == [("a", "b"), ("a", "c"), ("b", "c")]
    for one in tests:
        expected = compare(list(groups[one.b][one.metric]), list(groups[one.a][one.metric]))
        assert (one.difference, one.low, one.high, one.p) == (expected.mean, expected.low, expected.high, expected.p)
    assert [one.p_holm for one in tests] == holm([one.p for one in tests if one.p is not None])
    assert tests[0].better == "b" and tests[2].better == "a"
    assert tests[0].effect == 1.0  # every image gains


def test_an_image_without_a_value_is_left_out_and_counted() -> None:
    groups = scores(2, dice=0.05, hd95=-1.0)
    groups["a"]["hd95"][3] = np.nan
    groups["b"]["hd95"][[3, 7]] = np.nan
    dice, hd95 = image_tests(groups)
    assert (dice.n, hd95.n) == (20, 18)
    kept = [i for i in range(20) if i not in (3, 7)]
    assert hd95.mean_a == pytest.approx(groups["a"]["hd95"][kept].mean())
    found = image_mean(groups["a"]["hd95"])
    assert found is not None and found.n == 19
    assert image_mean(np.full(4, np.nan)) is None


def test_too_few_values_are_no_test_and_take_no_part_in_the_correction() -> None:
    groups = scores(3, dice=0.05, hd95=-1.0)
    groups["a"]["hd95"][1:] = np.nan
    dice, hd95 = image_tests(groups)
    assert hd95.n == 1 and hd95.p is None and hd95.p_holm is None and hd95.mean_a is not None and hd95.low is None
    assert dice.p_holm == dice.p


def test_what_is_detectable_depends_on_how_many_tests_are_corrected_for() -> None:
    shifts = {"dice": 0.004, "iou": 0.0, "precision": 0.0, "recall": 0.0}
    groups = scores(4, **shifts)
    family = image_tests(groups)
    alone = image_tests({name: {"dice": by["dice"]} for name, by in groups.items()})[0]
    one = family[0]
    assert one.detectable is not None and one.difference is not None and alone.detectable is not None
    off = groups["b"]["dice"] - groups["a"]["dice"]
    assert one.detectable == pytest.approx(detectable(off, len(shifts)))
    assert alone.detectable == pytest.approx(detectable(off, 1)) and alone.detectable < one.detectable
    assert one.images_needed == images_needed(one.n, one.detectable, one.difference, len(shifts))


def test_seed_intervals_are_student_s() -> None:
    found = seed_mean([0.70, 0.72, 0.74])
    reach = t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.72 - reach, 0.72 + reach))
    assert seed_mean([0.7]).low is None


def test_equal_seeds_are_paired_others_are_welch_s() -> None:
    """Seeds differ by much, the groups by 0.01 in each: only the paired difference shows it."""
    first = {0: 0.60, 1: 0.70, 2: 0.80}
    second = {0: 0.611, 1: 0.709, 2: 0.811}
    paired = seed_test("dice", "a", "b", first, second)
    apart = seed_test("dice", "a", "b", first, {s + 3: d for s, d in second.items()})
    assert paired.paired and not apart.paired
    assert paired.difference == pytest.approx(apart.difference)
    assert paired.low > 0 and apart.low < 0 < apart.high
    # Welch's with equal spreads and sizes is Student's with nearly n_a + n_b - 2 degrees.
    error = np.sqrt((np.var(list(first.values()), ddof=1) + np.var(list(second.values()), ddof=1)) / 3)
    assert apart.high - apart.difference == pytest.approx(t.ppf(0.975, 4) * error, rel=0.01)
    assert seed_test("dice", "a", "b", first, dict(first)).high == 0


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [3, 9])
def test_seeds_needed_agree_with_what_the_seeds_table_calls_detectable(paired: bool, seeds: int) -> None:
    """Also where seeds spread by much and their differences by little, or one group by more than the other."""
    rng = np.random.default_rng(seeds)
    first = dict(enumerate(rng.normal(0, 0.1, seeds)))
    wider, other = (1, 0) if paired else (3, seeds)
    second = {seed + other: wider * dice + 0.01 * rng.normal() for seed, dice in first.items()}
    found = seed_test("dice", "a", "b", first, second)
    assert found.paired == paired and seeds_needed(first, second, found.detectable * 1.0001) == seeds
    assert seeds_needed(first, second, found.detectable / 1.0001) == seeds + 1


@pytest.mark.parametrize("paired", [True, False])
def test_the_seeds_needed_show_the_difference_in_eighty_percent(paired: bool) -> None:
    """By the test of the report itself, with runs whose spread is that of the given seeds."""
    target = 0.02
    first = {0: 0.68, 1: 0.70, 2: 0.72}
    second = {0: 0.70, 1: 0.69, 2: 0.74} if paired else {3: 0.65, 4: 0.70, 5: 0.75}
    one, two = (np.array(list(group.values())) for group in (first, second))
    spreads = (0.0, (two - one).std(ddof=1)) if paired else (one.std(ddof=1), two.std(ddof=1))
    n = seeds_needed(first, second, target)
    assert n > 5
    rng = np.random.default_rng(5)
    shown, trials = 0, 1000
    for _ in range(trials):
        one, two = (rng.normal(shift, spread, n) for shift, spread in zip((0, target), spreads, strict=True))
        found = seed_test("dice", "a", "b", dict(enumerate(one)), dict(enumerate(two, 0 if paired else n)))
        shown += found.low > 0
    assert shown / trials == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("likeness", [0.0, 0.6])
def test_the_interval_of_alike_neighbours_holds_the_truth(likeness: float) -> None:
    """Differences that follow each other (AR(1)): a plain t interval would miss the truth far too often."""
    rng = np.random.default_rng(6)
    held, plain, trials, n = 0, 0, 300, 40
    for _ in range(trials):
        noise = rng.normal(size=n + 20)
        for i in range(1, len(noise)):
            noise[i] += likeness * noise[i - 1]
        values = noise[20:] + 0.3
        found = course("a", "b", dict.fromkeys(range(n), 0.0), dict(enumerate(map(float, values))))
        assert found.low is not None and found.high is not None
        held += found.low <= 0.3 <= found.high
        reach = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
        plain += abs(values.mean() - 0.3) <= reach
    assert held / trials >= 0.9
    if likeness:
        assert plain / trials < 0.8


def test_only_common_epochs_count() -> None:
    found = course("a", "b", {1: 0.5, 2: 0.6, 4: 0.7, 5: 0.7}, {2: 0.7, 3: 0.1, 4: 0.6, 5: 0.9})
    assert (found.n, found.ahead_a, found.ahead_b) == (3, 1, 2)
    assert found.difference == pytest.approx(0.2 / 3)
    assert course("a", "b", {1: 0.5}, {2: 0.5}).n == 0
    one = course("a", "b", {1: 0.5}, {1: 0.6})
    assert one.low is None and one.difference == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(6))
def test_p_is_below_five_percent_where_the_interval_excludes_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shift in np.linspace(0, 2, 40):
        one, two = dict(enumerate(rng.normal(0, 1, 5))), dict(enumerate(rng.normal(shift, 1, 5)))
        curve = course("a", "b", one, two)
        assert curve.low is not None and curve.high is not None and curve.p is not None
        for test in (
            (curve.low, curve.high, curve.p),
            *(
                (found.low, found.high, found.p)
                for found in (
                    seed_test("dice", "a", "b", one, two),
                    seed_test("dice", "a", "b", one, {s + 9: d for s, d in two.items()}),
                )
            ),
        ):
            low, high, p = test
            assert (p < 0.05) == (not low <= 0 <= high)
    assert course("a", "b", {1: 0.1, 2: 0.1, 3: 0.1}, {1: 0.2, 2: 0.2, 3: 0.2}).p == pytest.approx(0)
    assert seed_test("dice", "a", "b", one, dict(one)).p == 1


def test_autocorrelation_of_known_series() -> None:
    assert autocorrelation(np.ones(5)) == 0
    assert autocorrelation(np.array([1.0, -1.0] * 10)) == 0
    assert autocorrelation(np.linspace(0, 1, 400)) == pytest.approx(1, abs=0.02)
