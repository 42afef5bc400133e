"""The Frangi reference on drawn vessels: polarity, accuracy, and images without vessels."""

import numpy as np
import pytest
from scipy import ndimage

from flowseg.evaluation.frangi import (
    THRESHOLDS,
    FrangiSettings,
    _dice_curve,
    segment,
    tune,
    vesselness,
)
from flowseg.evaluation.overlap import overlap_metrics


def _bars(dark: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two straight vessels, 5 and 7 px wide, across a sloping and noisy background."""
    rows, columns = np.mgrid[:96, :96]
    mask = np.asarray((np.abs(columns - 30 - rows / 4) <= 2.5) | (np.abs(rows - 66) <= 3))
    contrast = -60.0 if dark else 60.0
    grey = 120 + rows / 4 + ndimage.gaussian_filter(mask * contrast, 0.7)
    grey += np.random.default_rng(seed).normal(0, 3, grey.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("dark", [True, False])
def test_tuned_filter_finds_drawn_vessels(dark: bool) -> None:
    images, masks = zip(*(_bars(dark, seed) for seed in (0, 1)), strict=True)
    settings = tune(images, masks)
    assert settings.dark_vessels is dark
    image, mask = _bars(dark, seed=2)
    prediction = segment(image, settings)
    assert prediction.dtype == np.bool_
    assert overlap_metrics(prediction, mask)["dice"] > 0.8
    assert tune(images, masks) == settings


def test_tune_finds_the_best_of_its_grid() -> None:
    image, mask = _bars(dark=True)
    settings = tune([image], [mask])
    best = overlap_metrics(segment(image, settings), mask)["dice"]
    for scale in (1.0, 2.0, 4.0):
        for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
            other = segment(image, FrangiSettings(scale, threshold, True))
            assert overlap_metrics(other, mask)["dice"] <= best + 1e-12


def test_dice_curve_is_dice_at_every_threshold() -> None:
    rng = np.random.default_rng(3)
    response = rng.integers(0, 101, (20, 30)).astype(np.float32) / np.float32(100)  # many ties
    mask = rng.random((20, 30)) < 0.3
    direct = [overlap_metrics(response >= threshold, mask)["dice"] for threshold in THRESHOLDS]
    np.testing.assert_allclose(_dice_curve(response, mask), direct)
    nothing = np.zeros((20, 30), dtype=np.float32)
    assert (_dice_curve(nothing, np.zeros((20, 30), dtype=bool)) == 1.0).all()


def test_vesselness_range_and_flat_image() -> None:
    response = vesselness(_bars(dark=True)[0], 1.5, True)
    assert response.dtype == np.float32 and response.shape == (96, 96)
    assert response.min() >= 0.0 and response.max() == 1.0
    for value in (0, 120, 255):
        flat = np.full((40, 50), value, dtype=np.uint8)
        assert not vesselness(flat, 1.0, True).any()
        assert not segment(flat, FrangiSettings(2.0, 0.01, False)).any()


def test_vesselness_is_scaled_to_the_contrast() -> None:
    faint = np.rint(_bars(dark=True)[0] / 3.0).astype(np.uint8) + np.uint8(60)
    responses = [vesselness(image, 1.5, True).ravel() for image in (faint, _bars(dark=True)[0])]
    assert np.abs(responses[0] - responses[1]).mean() < 0.02


def test_input_that_does_not_fit_is_refused() -> None:
    image, mask = _bars(dark=True)
    with pytest.raises(ValueError, match="as many"):
        tune([image], [])
    with pytest.raises(ValueError, match="at least one"):
        tune([], [])
    with pytest.raises(ValueError, match="mask"):
        tune([image], [mask[:-1]])
    with pytest.raises(ValueError, match="uint8"):
        vesselness(image / 255, 1.0, True)
    with pytest.raises(ValueError, match="scale"):
        vesselness(image, 0.0, True)
