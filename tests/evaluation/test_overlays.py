"""Overlays, strips, and PNG files that are written completely or not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowseg.evaluation.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GAP,
    OPACITY,
    PREDICTED,
    TRUE_POSITIVE,
    outline,
    overlay,
    save_png,
    strip,
)

IMAGE = np.array([[10, 20, 30, 40]], dtype=np.uint8)
PREDICTION = np.array([[True, True, False, False]])
TRUTH = np.array([[True, False, True, False]])


def _blend(grey: int, colour: tuple[int, int, int]) -> list[int]:
    return [round((1 - OPACITY) * grey + OPACITY * channel) for channel in colour]


def test_each_outcome_has_its_colour() -> None:
    out = overlay(IMAGE, PREDICTION, TRUTH)
    assert out.dtype == np.uint8 and out.shape == (1, 4, 3)
    assert out[0].tolist() == [
        _blend(10, TRUE_POSITIVE),
        _blend(20, FALSE_POSITIVE),
        _blend(30, FALSE_NEGATIVE),
        [40, 40, 40],
    ]


def test_without_truth_only_the_prediction_is_drawn() -> None:
    out = overlay(IMAGE, PREDICTION, None)
    assert out[0].tolist() == [_blend(10, PREDICTED), _blend(20, PREDICTED), [30] * 3, [40] * 3]


def test_overlay_leaves_its_input_alone_and_refuses_misfits() -> None:
    before = IMAGE.copy()
    overlay(IMAGE, PREDICTION, TRUTH)
    np.testing.assert_array_equal(IMAGE, before)
    with pytest.raises(ValueError, match="truth"):
        overlay(IMAGE, PREDICTION, TRUTH.T)
    with pytest.raises(ValueError, match="prediction"):
        overlay(IMAGE, PREDICTION.astype(np.uint8), TRUTH)
    with pytest.raises(ValueError, match="uint8"):
        overlay(IMAGE / 255, PREDICTION, TRUTH)


def test_strip_puts_panels_side_by_side() -> None:
    colour = np.zeros((5, 3, 3), dtype=np.uint8)
    colour[..., 1] = 90
    grey = np.full((5, 2), 7, dtype=np.uint8)
    out = strip([colour, grey])
    assert out.shape == (5, 3 + GAP + 2, 3) and out.dtype == np.uint8
    np.testing.assert_array_equal(out[:, :3], colour)
    assert (out[:, 3 : 3 + GAP] == 255).all()
    assert (out[:, 3 + GAP :] == 7).all()


def test_strip_refuses_unequal_heights() -> None:
    with pytest.raises(ValueError, match="heights"):
        strip([np.zeros((5, 3), dtype=np.uint8), np.zeros((6, 3), dtype=np.uint8)])
    with pytest.raises(ValueError, match="at least one"):
        strip([])
    with pytest.raises(ValueError, match="uint8"):
        strip([np.zeros((5, 3, 4), dtype=np.uint8)])


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 3)])
def test_save_png_round_trip_and_replacement(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save_png(path, array)
    with Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(stored), array)
    assert list(tmp_path.iterdir()) == [path]


def test_save_png_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def broken(self: Image.Image, target: Path, format: str) -> None:
        Path(target).write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        save_png(path, np.zeros((2, 2), dtype=np.uint8))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_save_png_refuses_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        save_png(tmp_path / "picture.png", np.zeros((2, 2), dtype=bool))


def test_an_outline_leaves_the_inside_and_the_outside() -> None:
    image = np.full((40, 60), 90, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    out = outline(image, mask, 100)
    assert out.shape == (40, 60, 3) and out.dtype == np.uint8
    # The line is smoothed, so that its colour is not exact.
    assert all(np.abs(out[place] - np.array(PREDICTED)).max() < 60 for place in ((10, 25), (29, 35), (20, 39)))
    assert (out[13:27, 23:37] == 90).all() and (out[:8] == 90).all() and (out[:, 43:] == 90).all()
    assert (outline(image, np.zeros_like(mask), 100) == 90).all()


@pytest.mark.parametrize("width", [1, 3])
def test_a_thin_vessel_stays_visible_at_a_small_scale(width: int) -> None:
    image, mask = np.full((800, 400), 90, np.uint8), np.zeros((800, 400), bool)
    mask[:, 200 : 200 + width] = True
    out = outline(image, mask, 100)
    assert out.shape == (100, 50, 3)
    # Its sides are one line of at most two pixels, since the line's place is a fraction of a pixel.
    marked = (out[5:-5] != 90).any(axis=2)
    assert marked.any(axis=1).all() and marked.sum(axis=1).max() <= 3
    assert out[5:-5, :, 0].max(axis=1).min() > 150
