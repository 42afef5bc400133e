"""Ranking and calibration metrics against scikit-learn, and their properties."""

import numpy as np
import pytest
from mask_pairs import degenerate_pairs, random_pairs
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from flowseg.evaluation.soft import BINS, soft_metrics


def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    """Probabilities with and without ties, zeros and ones, each with a true mask."""
    rng = np.random.default_rng(3)
    made = []
    for i, (prediction, truth) in enumerate(degenerate_pairs() + random_pairs(200)):
        noise = rng.random(truth.shape)
        probability = [
            noise,
            prediction.astype(np.float64),
            np.clip(0.6 * prediction + 0.7 * noise - 0.15, 0, 1),
            np.round(0.5 * truth + 0.5 * noise, 1),
            np.full(truth.shape, 0.3),
        ][i % 5]
        made.append((probability.astype(np.float32 if i % 2 else np.float64), truth))
    return made


CASES = cases()
BOTH_CLASSES = [(p, t) for p, t in CASES if 0 < t.sum() < t.size]


def test_there_are_hundreds_of_cases() -> None:
    assert len(CASES) == 489 and len(BOTH_CLASSES) > 400


def test_ranking_and_brier_are_scikit_learn_s() -> None:
    for probability, truth in CASES:
        found = soft_metrics(probability, truth)
        p, t = probability.ravel().astype(np.float64), truth.ravel()
        assert found["brier"] == pytest.approx(brier_score_loss(t, p, labels=[False, True]), abs=1e-12)
        assert found["auc"] == (pytest.approx(roc_auc_score(t, p), abs=1e-12) if 0 < t.sum() < t.size else None)
        expected = pytest.approx(average_precision_score(t, p), abs=1e-12) if t.any() else None
        assert found["average_precision"] == expected


def test_calibration_error_is_that_of_scikit_learn_s_curve() -> None:
    """scikit-learn's bins include their upper end, ours the lower one; cases with values on an edge are left out."""
    compared = 0
    for probability, truth in CASES:
        p, t = probability.ravel().astype(np.float64), truth.ravel()
        if np.isclose(p * BINS, np.round(p * BINS), atol=1e-6).any():
            continue
        true, mean = calibration_curve(t, p, n_bins=BINS)
        pixels = np.histogram(p, BINS, (0, 1))[0]
        expected = np.sum(np.abs(true - mean) * pixels[pixels > 0]) / p.size
        assert soft_metrics(probability, truth)["ece"] == pytest.approx(expected, abs=1e-12)
        compared += 1
    assert compared > 150


def test_a_bin_includes_its_lower_end_and_the_last_one_also_1() -> None:
    truth = np.array([[True, False, True, True]])
    # 0.2 is the lower end of the bin of 0.25: (0.45 - 1) / 4 in it; 1 shares the last bin with 0.95: (1.95 - 2) / 4.
    found = soft_metrics(np.array([[0.25, 0.2, 0.95, 1.0]]), truth)
    assert found["ece"] == pytest.approx(0.55 / 4 + 0.05 / 4)


def test_ranking_does_not_see_the_scale_and_calibration_does() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        probability = rng.random((30, 30))
        truth = rng.random((30, 30)) < probability
        calibrated, squared = soft_metrics(probability, truth), soft_metrics(probability**2, truth)
        for name in ("auc", "average_precision"):
            assert squared[name] == pytest.approx(calibrated[name])
        assert squared["ece"] > 2 * calibrated["ece"] and squared["brier"] > calibrated["brier"]
        turned = soft_metrics(1 - probability, truth)
        assert turned["auc"] == pytest.approx(1 - calibrated["auc"])


def test_truth_of_one_class() -> None:
    for shape in ((1, 1), (5, 8)):
        probability, empty = np.full(shape, 0.25), np.zeros(shape, dtype=bool)
        nothing, everything = soft_metrics(probability, empty), soft_metrics(probability, ~empty)
        assert nothing == {"auc": None, "average_precision": None, "ece": 0.25, "brier": 0.0625}
        assert everything == {"auc": None, "average_precision": 1, "ece": 0.75, "brier": 0.5625}


def test_what_is_no_probability_is_refused() -> None:
    good, truth = np.full((3, 4), 0.5), np.zeros((3, 4), dtype=bool)
    for bad in (np.nan, -1e-5, 1.00001, np.inf):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            soft_metrics(np.where(np.arange(12).reshape(3, 4) == 7, bad, good), truth)
    assert soft_metrics(good + 0.5000001, ~truth)["ece"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="floating"):
        soft_metrics(np.zeros((3, 4), np.uint8), truth)
    with pytest.raises(ValueError, match="bool truth"):
        soft_metrics(good, truth.astype(np.uint8))
    for p, t in ((good, truth.T), (good[0], truth[0]), (good[:0], truth[:0])):
        with pytest.raises(ValueError, match="one shape"):
            soft_metrics(p, t)
