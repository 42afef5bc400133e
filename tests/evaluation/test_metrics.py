"""Overlap metrics against counts made by hand, and the properties of the bootstrap interval."""

import math

import numpy as np
import pytest

from flowseg.evaluation.metrics import METRICS, bootstrap_mean, overlap_metrics

EMPTY = np.zeros((3, 4), dtype=bool)
FULL = np.ones((3, 4), dtype=bool)


def test_hand_counted_masks() -> None:
    prediction = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    truth = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    # TP 3, FP 1, FN 2, TN 6
    values = overlap_metrics(prediction, truth)
    assert tuple(values) == METRICS
    assert values == pytest.approx(
        {"dice": 6 / 9, "iou": 3 / 6, "precision": 3 / 4, "recall": 3 / 5, "specificity": 6 / 7}
    )


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1, 1, 1)),
        (FULL, FULL, (1, 1, 1, 1, 1)),
        (EMPTY, FULL, (0, 0, 0, 0, 1)),
        (FULL, EMPTY, (0, 0, 0, 1, 0)),
    ],
)
def test_degenerate_masks(prediction: np.ndarray, truth: np.ndarray, expected: tuple[float, ...]) -> None:
    assert tuple(overlap_metrics(prediction, truth).values()) == expected


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        overlap_metrics(EMPTY, np.zeros((4, 3), dtype=bool))
    with pytest.raises(ValueError, match="bool"):
        overlap_metrics(EMPTY, np.full((3, 4), 255, dtype=np.uint8))


def test_bootstrap_depends_on_the_seed_only() -> None:
    values = list(np.random.default_rng(1).random(20))
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_bootstrap_interval_matches_the_normal_one() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for n in (25, 100, 400):
        values = rng.normal(0.7, 0.1, n)
        interval = bootstrap_mean(list(values), resamples=4000)
        assert interval.n == n
        assert interval.mean == pytest.approx(values.mean())
        assert interval.low < interval.mean < interval.high
        half = 1.96 * values.std() / math.sqrt(n)
        assert interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
        assert interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)
        widths.append(interval.high - interval.low)
    assert widths[0] > widths[1] > widths[2]


def test_bootstrap_level_sets_the_width() -> None:
    values = list(np.random.default_rng(5).random(30))
    narrow, wide = bootstrap_mean(values, level=0.5), bootstrap_mean(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_bootstrap_in_blocks_draws_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.random.default_rng(6).random(10))
    whole = bootstrap_mean(values, resamples=1001)
    monkeypatch.setattr("flowseg.evaluation.metrics._DRAWS_PER_BLOCK", 1000)
    blocks = bootstrap_mean(values, resamples=1001)
    assert blocks.low == pytest.approx(whole.low, abs=0.02)
    assert blocks.high == pytest.approx(whole.high, abs=0.02)


def test_bootstrap_of_one_value_has_no_interval() -> None:
    interval = bootstrap_mean([0.5])
    assert (interval.mean, interval.n) == (0.5, 1)
    assert math.isnan(interval.low) and math.isnan(interval.high)


def test_bootstrap_refuses_what_has_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean([0.5, float("nan")])
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([0.5, 0.6], level=95)
