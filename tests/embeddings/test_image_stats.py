"""The image-stats descriptor: its layout, range and determinism, and which images it distinguishes."""

import numpy as np
import pytest
from scipy import ndimage

from flowseg.embeddings.image_stats import WIDTH, describe


def _drawn(angle: float, seed: int, dark: bool = True) -> np.ndarray:
    """Draws a vessel-like bar at an angle (radians) over smooth texture, in 200×240 pixels."""
    rows, columns = np.mgrid[:200, :240]
    distance = (rows - 100) * np.cos(angle) - (columns - 120) * np.sin(angle)
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 60, (200, 240)), 4)
    bar = 60 * np.exp(-(distance**2) / 18)
    return np.clip(np.rint(130 + texture + (-bar if dark else bar)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (256, 256), (513, 300)])
def test_shape_and_dtype_for_any_size(shape: tuple[int, int]) -> None:
    vector = describe(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert vector.shape == (WIDTH,) and WIDTH == 2048
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_constant_image(value: int) -> None:
    vector = describe(np.full((90, 120), value, dtype=np.uint8))
    assert np.isfinite(vector).all()
    assert np.abs(vector[:1280]).max() < 1e-2  # no cell differs from the whole image


def test_entries_are_of_order_one() -> None:
    for image in (_drawn(0.5, 1), np.random.default_rng(1).integers(0, 256, (300, 300), dtype=np.uint8)):
        vector = describe(image)
        assert 0.5 < np.sqrt(np.mean(vector**2)) < 2.0
        assert np.abs(vector).max() <= 16.0


def test_histograms_hold_every_pixel() -> None:
    vector = describe(_drawn(0.5, 1))
    shares = (vector[1280:1536].reshape(16, 16) / 4) ** 2
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(((vector[1728:1984] / 16) ** 2).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(((vector[1984:].reshape(4, 16) / 4) ** 2).sum(axis=1), 1, rtol=1e-5)


def test_documented_positions() -> None:
    image = np.full((256, 256), 50, dtype=np.uint8)
    image[:32, 32:64] = 200  # cell (0, 1) of 8x8
    vector = describe(image)
    grey = vector[:64]
    assert grey.argmax() == 1
    mean = image.mean() / 255
    assert grey[1] == pytest.approx(9 * (200 / 255 - mean), abs=1e-4)
    assert vector[1664] == pytest.approx(3 * mean, abs=1e-4)
    expected = [3 * 50 / 255] * 7 + [3 * 200 / 255]  # the cell is 1.6 percent of the image
    np.testing.assert_allclose(vector[1536:1544], expected, atol=1e-5)


def test_same_image_same_vector_and_input_untouched() -> None:
    image = _drawn(0.3, 2)
    before = image.copy()
    np.testing.assert_array_equal(describe(image), describe(image.copy()))
    np.testing.assert_array_equal(image, before)


def test_noise_moves_it_less_than_another_image_does() -> None:
    image = _drawn(0.3, 2)
    noise = np.rint(np.random.default_rng(3).normal(0, 1, image.shape))
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    base = describe(image)
    moved = float(np.linalg.norm(describe(noisy) - base))
    others = [_drawn(1.2, 2), _drawn(0.3, 4), _drawn(0.3, 2, dark=False)]
    nearest = min(float(np.linalg.norm(describe(other) - base)) for other in others)
    assert 0 < moved < nearest / 3


def test_polarity_and_direction_are_seen() -> None:
    def strongest_ridges(dark: bool) -> tuple[float, float]:
        percentiles = describe(_drawn(0.3, 2, dark))[1536:1664].reshape(16, 8)
        return float(percentiles[5, -1]), float(percentiles[9, -1])  # dark and bright ridges at sigma 3

    dark, bright = strongest_ridges(True)
    assert dark > bright
    dark, bright = strongest_ridges(False)
    assert bright > dark

    def main_direction(angle: float) -> int:
        return int(describe(_drawn(angle, 2))[1984:2000].argmax())

    apart = (main_direction(0.0) - main_direction(np.pi / 2)) % 16  # the bins cover half a turn
    assert 6 <= apart <= 10


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        describe(np.zeros((8, 8), dtype=np.float32))
    with pytest.raises(ValueError, match="two dimensions"):
        describe(np.zeros((8, 8, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="empty"):
        describe(np.zeros((0, 8), dtype=np.uint8))
