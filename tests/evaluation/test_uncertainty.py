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


def masks(*rows: str) -> np.ndarray:
    return np.array([[[float(c) for c in row]] for row in rows], np.float32)


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (masks("0110", "0110", "0110"), 0),
        (masks("0000", "0000"), 0),  # two empty masks agree
        (masks("1100", "0011"), 1),
        (masks("1100", "0000"), 1),
        # The mean of two masks exceeds 1/2 where both are set: 1100 against 0100 once, 0100 against 1100 twice.
        (masks("1100", "1100", "0100"), (1 / 3 + 1 / 3 + 1 / 3) / 3),
    ],
)
def test_expected_errors(samples: np.ndarray, error: float) -> None:
    assert expected_error(samples, 0.5) == pytest.approx(error)


def test_the_threshold_counts_for_samples_and_mean_alike() -> None:
    samples = np.array([[[0.3, 0.6]], [[0.3, 0.6]], [[0.3, 0.2]]], np.float32)
    assert expected_error(samples, 0.1) == 0
    assert expected_error(samples, 0.5) > 0


def test_one_sample_says_nothing() -> None:
    with pytest.raises(ValueError, match="two samples"):
        expected_error(masks("01"), 0.5)
    assert Segmentation(masks("01")).uncertainty is None


def test_the_expected_error_is_the_error_if_the_truth_is_one_more_sample() -> None:
    """For discs of random radius, the expected error agrees in the mean over images with the error against a truth."""
    rng = np.random.default_rng(0)
    distance = np.hypot(*np.ogrid[-20:21, -20:21])
    expected, met = [], []
    for _ in range(400):
        scale = rng.uniform(8, 14)
        discs = np.stack([distance < scale + rng.normal(0, 2) for _ in range(6)]).astype(np.float32)
        samples, truth = discs[:5], discs[5] > 0
        expected.append(expected_error(samples, 0.5))
        # The mean of four samples, as each sample is compared with the mean of the four others.
        met.append(1 - overlap_metrics(samples[:4].mean(axis=0) > 0.5, truth)["dice"])
    error = np.hypot(np.std(expected), np.std(met)) / np.sqrt(400)
    assert abs(np.mean(expected) - np.mean(met)) < 3 * error
    assert error < 0.1 * np.mean(met)


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
