"""Uncertainty maps, expected errors, and the AUROC of an uncertainty."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import entropy

from flowseg.evaluation.overlap import overlap_metrics
from flowseg.evaluation.uncertainty import expected_error, uncertainty_auroc
from flowseg.sampling.segment import Segmentation, predictive_entropy


def test_entropy_is_that_of_a_coin_in_bits() -> None:
    p = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, -1)
    found = predictive_entropy(p)
    assert found.dtype == np.float32 and found.shape == p.shape
    np.testing.assert_allclose(found[0], [entropy([v, 1 - v], base=2) for v in p[0].astype(np.float64)], atol=1e-6)
    assert (found[0, 0], found[0, 50], found[0, 100]) == (0, 1, 0)
    np.testing.assert_allclose(found, found[:, ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("probability", "threshold", "error"),
    [
        ([0, 1, 1, 0], 0.5, 0),  # sure of every pixel
        ([0, 0, 0, 0], 0.5, 0),  # of an empty mask too
        ([0.8, 0.8, 0.2, 0.2], 0.5, 1 - 2 * 1.6 / (2 + 2)),
        ([0.8, 0.8, 0.2, 0.2], 0.1, 1 - 2 * 2 / (4 + 2)),
        ([0.4, 0.4, 0.4, 0.4], 0.5, 1),  # finds nothing of what is there
    ],
)
def test_expected_errors(probability: list[float], threshold: float, error: float) -> None:
    p = np.asarray([probability], np.float32)
    assert expected_error(p, p > threshold) == pytest.approx(error, abs=1e-6)


def test_one_sample_has_no_uncertainty_map() -> None:
    assert Segmentation(np.zeros((1, 2, 2), np.float32)).uncertainty is None


@pytest.mark.parametrize("overconfident", [False, True])
def test_the_expected_error_is_the_mean_error_where_probabilities_are_calibrated(overconfident: bool) -> None:
    """Truths drawn from the probabilities themselves; a sharpened map expects less than it meets."""
    rng = np.random.default_rng(0)
    distance = np.hypot(*np.ogrid[-20:21, -20:21])
    expected, met = [], []
    for _ in range(200):
        p = 1 / (1 + np.exp((distance - rng.uniform(8, 14)) / 2)).astype(np.float32)
        truth = rng.random(p.shape) < p
        stated = p**3 / (p**3 + (1 - p) ** 3) if overconfident else p
        expected.append(expected_error(stated, stated > 0.5))
        met.append(1 - overlap_metrics(stated > 0.5, truth)["dice"])
    close = abs(np.mean(expected) - np.mean(met)) < 0.02 * np.mean(met)
    assert close != overconfident and (np.mean(expected) < 0.6 * np.mean(met)) == overconfident


@pytest.mark.parametrize("levels", [3, 50])
def test_auroc_is_the_chance_that_a_wrong_pixel_is_more_uncertain(levels: int) -> None:
    rng = np.random.default_rng(levels)
    prediction, truth = rng.random((9, 11)) > 0.5, rng.random((9, 11)) > 0.5
    uncertainty = rng.integers(levels, size=(9, 11)).astype(np.float32)
    wrong = prediction != truth
    pairs = [(a > b) + (a == b) / 2 for a, b in product(uncertainty[wrong], uncertainty[~wrong])]
    assert uncertainty_auroc(prediction, truth, uncertainty) == pytest.approx(np.mean(pairs))
    assert uncertainty_auroc(prediction, truth, wrong.astype(np.float32)) == 1
    assert uncertainty_auroc(prediction, truth, -wrong.astype(np.float32)) == 0
    assert uncertainty_auroc(prediction, truth, np.ones((9, 11), np.float32)) == 0.5
    # Only the order of the values matters.
    assert uncertainty_auroc(prediction, truth, np.exp(uncertainty)) == pytest.approx(np.mean(pairs))


def test_auroc_does_not_exist_where_all_is_right_or_all_wrong() -> None:
    mask, uncertainty = np.array([[True, False]]), np.array([[0.1, 0.2]], np.float32)
    assert np.isnan(uncertainty_auroc(mask, mask, uncertainty))
    assert np.isnan(uncertainty_auroc(mask, ~mask, uncertainty))


def test_auroc_refuses_what_does_not_fit() -> None:
    mask, uncertainty = np.array([[True, False]]), np.array([[0.1, 0.2]], np.float32)
    with pytest.raises(ValueError, match="shapes"):
        uncertainty_auroc(mask, mask, uncertainty.T)
    with pytest.raises(ValueError, match="bool"):
        uncertainty_auroc(uncertainty, mask, uncertainty)
