"""Overlap against scikit-learn and hand counts; all metrics of an image; the bootstrap interval."""

import math

import numpy as np
import pytest
from mask_pairs import degenerate, degenerate_pairs, random_pairs
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from flowseg.evaluation.metric_table import IMAGE_METRICS, MASK_METRICS, is_better, metric
from flowseg.evaluation.metrics import bootstrap_mean, image_metrics, mask_metrics
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.evaluation.score import intervals
from flowseg.evaluation.soft import soft_metrics

OVERLAP = ("dice", "iou", "precision", "recall", "specificity")
EMPTY = np.zeros((3, 4), dtype=bool)
FULL = np.ones((3, 4), dtype=bool)


def test_hand_counted_masks() -> None:
    prediction = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    truth = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    # TP 3, FP 1, FN 2, TN 6
    values = overlap_metrics(prediction, truth)
    assert tuple(values) == OVERLAP
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


@pytest.mark.parametrize("pairs", [degenerate_pairs(), random_pairs(200)[::2]], ids=["degenerate", "vessels"])
def test_overlap_is_scikit_learn_s(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """0 / 0 counts as 1 in scikit-learn too, except for precision: 0 if nothing is predicted but there are vessels."""
    p, t = (np.stack([pair[k].ravel() for pair in pairs], axis=1) for k in (0, 1))  # a column per pair
    otherwise_1 = {"average": None, "zero_division": 1.0}
    nothing_of_something = ~p.any(axis=0) & t.any(axis=0)
    expected = {
        "dice": f1_score(t, p, **otherwise_1),
        "iou": jaccard_score(t, p, **otherwise_1),
        "precision": np.where(nothing_of_something, 0, precision_score(t, p, **otherwise_1)),
        "recall": recall_score(t, p, **otherwise_1),
        "specificity": recall_score(~t, ~p, **otherwise_1),
    }
    found = [overlap_metrics(prediction, truth) for prediction, truth in pairs]
    for name in OVERLAP:
        np.testing.assert_allclose([row[name] for row in found], expected[name], rtol=1e-12)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        overlap_metrics(EMPTY, np.zeros((4, 3), dtype=bool))
    with pytest.raises(ValueError, match="bool"):
        overlap_metrics(EMPTY, np.full((3, 4), 255, dtype=np.uint8))


def test_an_image_has_every_metric_or_says_that_it_does_not_exist() -> None:
    missing = set()
    for prediction, truth in degenerate_pairs() + random_pairs(60):
        found = image_metrics(prediction.astype(np.float32), truth)
        assert list(found) == [row.key for row in IMAGE_METRICS]
        for name, value in found.items():
            if value is None:
                missing.add((name, bool(truth.any()), bool(truth.all()), bool(prediction.any())))
            else:
                assert type(value) is float and math.isfinite(value) and value >= 0
                assert value <= 1 or metric(name).unit.largest is None
    one_empty = {(name, *truth, not truth[0]) for name in ("hd95", "assd") for truth in ((False, False),)}
    one_empty |= {(name, True, full, False) for name in ("hd95", "assd") for full in (False, True)}
    one_class = {("auc", full, full, some) for full in (False, True) for some in (False, True)}
    assert missing == one_empty | one_class | {("average_precision", False, False, some) for some in (False, True)}


@pytest.mark.parametrize("truth", degenerate().values(), ids=degenerate())
def test_a_perfect_prediction_is_best_in_every_metric(truth: np.ndarray) -> None:
    for name, value in image_metrics(truth.astype(np.float64), truth).items():
        assert value is None or value == (0 if metric(name).better == "lower" else 1), name


def test_a_worse_prediction_is_worse_in_every_metric() -> None:
    """The better prediction is confident; the worse one has a gap, a false blot far away and little confidence."""
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 32, x - 32)
    truth = np.abs(radius - 18) < 4
    good = np.clip(0.9 * truth + 0.05, 0, 1)
    bad = np.where((y < 20) | (x < 20), 0.1, 0.45 + 0.1 * truth)
    bad[44:64, 56:64] = 0.95
    better, worse = image_metrics(good, truth), image_metrics(bad, truth)
    for name in better:
        first, second = better[name], worse[name]
        assert first is not None and second is not None
        assert is_better(name, first, second) and not is_better(name, second, first), name


def test_a_pixel_is_vessel_where_its_probability_exceeds_the_threshold() -> None:
    rng = np.random.default_rng(8)
    probability = np.round(rng.random((20, 30)), 1).astype(np.float32)
    truth = rng.random((20, 30)) < probability
    for threshold in (0.0, 0.3, 0.5, 1.0):
        found = image_metrics(probability, truth, threshold)
        of_mask = {row.key: found.pop(row.key) for row in MASK_METRICS}
        assert of_mask == mask_metrics(probability > threshold, truth)
        assert found == soft_metrics(probability, truth)
    assert image_metrics(probability, truth) == image_metrics(probability, truth, 0.5)


def test_density_is_the_share_of_the_image() -> None:
    for prediction, truth in random_pairs(30, seed=2):
        expected = abs(int(prediction.sum()) - int(truth.sum())) / truth.size
        assert mask_metrics(prediction, truth)["density_error"] == pytest.approx(expected)


def test_images_that_do_not_fit_are_refused() -> None:
    for prediction, truth in ((EMPTY, EMPTY[:2]), (EMPTY[:0], EMPTY[:0]), (EMPTY.astype(np.uint8), EMPTY)):
        with pytest.raises(ValueError):
            mask_metrics(prediction, truth)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        image_metrics(np.full((3, 4), 255.0), EMPTY)
    with pytest.raises(ValueError, match="threshold"):
        image_metrics(np.full((3, 4), 0.5), EMPTY, 127)


def test_a_mean_is_over_the_images_that_have_the_value() -> None:
    rows = [{"dice": d, "hd95": h, "auc": None} for d, h in ((0.5, 3.0), (0.7, None), (0.9, 5.0))]
    found = intervals(rows)
    assert found["dice"] == bootstrap_mean([0.5, 0.7, 0.9])
    assert found["hd95"] == bootstrap_mean([3.0, 5.0])
    assert found["auc"].n == 0 and math.isnan(found["auc"].mean)


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
