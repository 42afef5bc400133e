"""Paired comparisons against enumeration, textbook values and simulation."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from flowseg.evaluation.paired import compare, detectable, holm, images_needed, rank_biserial, smallest_p, wilcoxon_p


def enumerated_p(differences: np.ndarray) -> float:
    """Wilcoxon's p value by enumeration of all signs of the ranks."""
    ranks = rankdata(np.abs(differences))
    centre = ranks.sum() / 2
    seen = abs(ranks[differences > 0].sum() - centre)
    sums = [np.dot(ranks, signs) for signs in product((0, 1), repeat=len(ranks))]
    return float(np.mean([abs(s - centre) >= seen - 1e-9 for s in sums]))


@pytest.mark.parametrize("seed", range(5))
def test_wilcoxon_is_the_enumeration_of_signs(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.4, 1, 9)
    assert wilcoxon_p(differences) == pytest.approx(enumerated_p(differences))
    # Zero differences are left out.
    assert wilcoxon_p(np.append(differences, [0.0, 0.0])) == wilcoxon_p(differences)


def test_equal_values_differ_by_exactly_nothing() -> None:
    values = [0.1, 0.7, 0.3]
    found = compare(values, values)
    assert (found.mean, found.low, found.high, found.p, found.changed, found.detectable) == (0, 0, 0, 1, 0, 0)
    # Rounding noise does not count as a difference.
    assert compare([0.1 + 0.2] * 6, [0.3] * 6) == compare([0.3] * 6, [0.3] * 6)


def test_the_difference_is_first_minus_second_image_by_image() -> None:
    rng = np.random.default_rng(1)
    second = rng.random(30)
    found = compare(list(second + rng.normal(0.1, 0.02, 30)), list(second), seed=4)
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx(0.1, abs=0.015) and found.p < 1e-6
    assert found.high - found.low < 0.03 < second.std()  # the spread between images cancels
    assert (found.n, found.changed) == (30, 30)


def test_holm_s_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []


@pytest.mark.parametrize(("n", "tests"), [(20, 1), (46, 17), (46, 102)])
def test_the_detectable_difference_is_found_in_eighty_percent_after_holm_s_correction(n: int, tests: int) -> None:
    """By the test of the reports, in a family whose other differences are all zero: Holm's worst case."""
    rng = np.random.default_rng(2)
    unit = rng.normal(size=n)
    smallest = detectable((unit - unit.mean()) / unit.std(ddof=1), tests)
    trials = 800
    ps = wilcoxon(rng.normal(smallest, 1, (trials, n)), axis=1).pvalue
    others = rng.random((trials, tests - 1))
    found = [holm([p, *rest])[0] < 0.05 for p, rest in zip(ps, others, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)


def test_the_smallest_p_is_that_of_one_sign() -> None:
    for n in (4, 6, 9):
        p = wilcoxon_p(np.arange(1.0, n + 1))
        assert smallest_p(n, 1) == pytest.approx(p)
        assert smallest_p(n, 7) == pytest.approx(holm([p, *[1.0] * 6])[0])


def test_the_images_needed_detect_the_target() -> None:
    """Among differences of one spread, so many images show the target, and one fewer does not."""

    def shown(n: int, tests: int) -> float:
        drawn = np.random.default_rng(3).normal(0, 1, n)
        return detectable((drawn - drawn.mean()) / drawn.std(ddof=1), tests)

    for tests in (1, 17):
        smallest = shown(40, tests)
        for target in (smallest, -smallest / 2, smallest / 10):
            n = images_needed(40, smallest, target, tests)
            assert shown(n, tests) <= abs(target) * (1 + 1e-9) < shown(n - 1, tests) * (1 + 1e-9)
        assert images_needed(40, smallest, smallest, tests) == 40
    # Of a huge difference as many as can give a small p at all.
    assert images_needed(40, 0.01, 100.0, 17) == 10 and smallest_p(9, 17) > 0.05 > smallest_p(10, 17)


@pytest.mark.parametrize("seed", range(5))
def test_the_effect_size_is_wilcoxon_s_rank_sums(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, 25).round(1)
    kept = differences[differences != 0]
    ranks = rankdata(np.abs(kept))
    for_, against = ranks[kept > 0].sum(), ranks[kept < 0].sum()
    assert rank_biserial(differences) == pytest.approx((for_ - against) / (for_ + against))
    assert rank_biserial(-differences) == -rank_biserial(differences)
    # Kerby's form: twice the normalised statistic, minus one.
    assert rank_biserial(differences) == pytest.approx(2 * for_ / ranks.sum() - 1)


def test_the_effect_size_of_one_sign_and_of_none() -> None:
    assert rank_biserial(np.array([0.1, 0.2, 0.0])) == 1 and rank_biserial(np.array([-0.1, -3.0])) == -1
    assert rank_biserial(np.zeros(4)) == 0 and rank_biserial(np.array([1.0, -1.0])) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        compare([0.5], [0.5])
    with pytest.raises(ValueError, match="both values"):
        compare([0.5, 0.6], [0.5])
    with pytest.raises(ValueError, match="finite"):
        compare([0.5, float("nan")], [0.5, 0.5])
