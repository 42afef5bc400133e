"""Crops and augmentation: exact where they only move pixels, aligned, reproducible, in range."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from flowseg.config import DataConfig
from flowseg.data.augment import random_example
from flowseg.data.dataset import mirrored
from flowseg.sampling.canvas import Canvas

CROP = 16
PLAIN = DataConfig(crop=CROP, target="coverage", flip=0, quarter_turn=0, rotate=0, gamma=0, vessel_crops=0)
MOVING = replace(PLAIN, flip=0.5, quarter_turn=0.5)
# Every pixel has a value of its own, so that a crop tells where it comes from.
IMAGE = np.random.default_rng(0).permutation(np.linspace(-1, 1, 40 * 52, dtype=np.float32)).reshape(40, 52)


def smooth(seed: int, shape: tuple[int, int] = (40, 52)) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(shape), (0, 0), 3)
    return np.clip(noise / np.abs(noise).max(), -1, 1).astype(np.float32)


def example(config: DataConfig, seed: int, image: np.ndarray = IMAGE, target: np.ndarray | None = None) -> tuple:
    return random_example(image, image if target is None else target, config, np.random.default_rng(seed))


def origin(crop: np.ndarray) -> tuple[int, int, int, bool] | None:
    """Top, left, quarter turns and mirroring with which a crop lies in IMAGE; None if it does not."""
    for flipped in (False, True):
        for turns in range(4):
            undone = np.rot90(crop, -turns)
            undone = undone[:, ::-1] if flipped else undone
            places = np.argwhere(undone[0, 0] == IMAGE)
            if len(places) == 1:
                top, left = map(int, places[0])
                if np.array_equal(IMAGE[top : top + CROP, left : left + CROP], undone):
                    return top, left, turns, flipped
    return None


def test_a_plain_crop_is_a_part_of_the_image() -> None:
    for seed in range(50):
        found = origin(example(PLAIN, seed)[0])
        assert found is not None and found[2:] == (0, False)


@pytest.mark.parametrize(("share", "vessel"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_crops_are_centred_on_vessel_and_background_as_often_as_asked(share: float, vessel: float) -> None:
    target = np.where(smooth(5) > 0.3, np.float32(1), np.float32(-1))
    # A background pixel near the border is not the centre of its crop, which is moved inside: to background, here.
    edge = CROP // 2 + 1
    target[:edge], target[40 - edge :], target[:, :edge], target[:, 52 - edge :] = [-1] * 4
    centres = []
    for seed in range(1500):
        _, made = example(replace(PLAIN, vessel_crops=share), seed, target=target)
        centres.append(made[CROP // 2, CROP // 2] > 0)
    assert np.mean(centres) == pytest.approx(vessel, abs=4 * np.sqrt(share * (1 - share) / 1500))


def test_flips_and_turns_only_move_pixels() -> None:
    seen = set()
    for seed in range(300):
        found = origin(example(MOVING, seed)[0])
        assert found is not None
        seen.add(found[2:])
    assert len(seen) == 8  # all symmetries of the square


@pytest.mark.parametrize(("name", "value"), [("flip", 1.0), ("quarter_turn", 1.0)])
def test_each_move_happens_as_often_as_asked(name: str, value: float) -> None:
    config = replace(PLAIN, **{name: value})
    moved = [origin(example(config, seed)[0])[2:] for seed in range(100)]  # type: ignore[index]
    # Both flips are half a turn; a quarter turn is one of three, never none.
    assert set(moved) == ({(2, False)} if name == "flip" else {(1, False), (2, False), (3, False)})


@pytest.mark.parametrize(
    "config",
    [MOVING, replace(MOVING, rotate=1.0), replace(MOVING, rotate=0.5, zoom=0.5), replace(MOVING, vessel_crops=1.0)],
)
def test_the_target_stays_aligned_with_the_image(config: DataConfig) -> None:
    for seed in range(50):
        image, target = example(config, seed)
        np.testing.assert_array_equal(image, target)


@pytest.mark.parametrize("config", [PLAIN, DataConfig(crop=CROP), DataConfig(crop=CROP, vessel_crops=0.5)])
def test_the_same_generator_gives_the_same_example(config: DataConfig) -> None:
    target = smooth(1)
    for seed in range(20):
        for first, second in zip(
            example(config, seed, target=target), example(config, seed, target=target), strict=True
        ):
            np.testing.assert_array_equal(first, second)
    assert any(not np.array_equal(example(config, seed)[0], example(config, seed + 1)[0]) for seed in range(0, 20, 2))


def test_the_image_is_left_as_it_was() -> None:
    image, target = smooth(2), smooth(3)
    kept = image.copy(), target.copy()
    for seed in range(20):
        made = example(replace(MOVING, gamma=1.0, rotate=0.5), seed, image, target)
        for array in made:
            assert array.shape == (CROP, CROP) and array.dtype == np.float32 and array.flags.c_contiguous
            array += 1
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(target, kept[1])


@pytest.mark.parametrize("place", [(0, 0), (0, 51), (39, 0), (39, 51), (20, 3), (17, 25)])
def test_vessel_crops_hold_a_vessel_pixel(place: tuple[int, int]) -> None:
    target = np.full(IMAGE.shape, -1, np.float32)
    target[place] = 1
    for seed in range(50):
        assert (example(replace(MOVING, vessel_crops=1.0), seed, target=target)[1] > 0).sum() == 1


@pytest.mark.parametrize("value", [-1, 1])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_crops_of_an_empty_or_full_image_come_from_everywhere(value: float, share: float) -> None:
    target = np.full(IMAGE.shape, value, np.float32)
    config = replace(PLAIN, vessel_crops=share)
    places = {origin(example(config, seed, target=target)[0])[:2] for seed in range(50)}  # type: ignore[index]
    assert len(places) > 30


def test_a_mask_target_stays_a_mask() -> None:
    target = np.where(smooth(4) > 0, np.float32(1), np.float32(-1))
    config = replace(MOVING, rotate=1.0, target="mask")
    for seed in range(50):
        made = example(config, seed, target=target)[1]
        assert made.dtype == np.float32
        assert set(np.unique(made)) <= {-1, 1}


def test_a_rotation_turns_by_the_drawn_angle_at_most() -> None:
    y, x = np.mgrid[:40, :52].astype(np.float32)
    angles = []
    for seed in range(200):
        # The gradient of a ramp tells by how much it was turned.
        turned, _ = example(replace(PLAIN, rotate=1.0, rotate_degrees=10), seed, image=x / 52, target=y / 40)
        down, right = (np.diff(turned, axis=axis)[4:12, 4:12].mean() for axis in (0, 1))
        angles.append(np.degrees(np.arctan2(down, right)))
    assert np.abs(angles).max() < 10.1
    assert min(angles) < -8 and max(angles) > 8


def test_a_zoom_changes_the_scale_of_image_and_target_by_the_drawn_factor() -> None:
    x = np.mgrid[:40, :52][1].astype(np.float32) / 52
    factors = []
    for seed in range(200):
        image, target = example(replace(PLAIN, zoom=1.0, zoom_range=(0.8, 1.25)), seed, image=x, target=x)
        np.testing.assert_array_equal(image, target)
        factors.append(1 / (52 * np.diff(image, axis=1)[4:12, 6:10].mean()))
    assert 0.79 < min(factors) < 0.83 and 1.2 < max(factors) < 1.26


def test_gamma_keeps_order_and_ends() -> None:
    config = replace(PLAIN, gamma=1.0, gamma_range=(0.5, 2.0))
    drawn = []
    for seed in range(50):
        made, target = example(config, seed)
        before = target  # the same crop, untouched
        order = np.argsort(before, axis=None)
        assert (np.diff(made.ravel()[order]) >= 0).all()
        assert made.min() >= -1 and made.max() <= 1
        inside = (before > -0.9) & (before < 0.9)
        gammas = np.log((made[inside] + 1) / 2) / np.log((before[inside] + 1) / 2)
        np.testing.assert_allclose(gammas, gammas[0], rtol=1e-3)
        drawn.append(gammas[0])
    assert 0.499 < min(drawn) < 0.7 and 1.7 < max(drawn) < 2.001
    ends = np.where(IMAGE > 0, np.float32(1), np.float32(-1))
    made, target = example(config, 0, image=ends)
    np.testing.assert_array_equal(made, target)


def test_everything_at_once_stays_finite_and_in_range() -> None:
    hard = np.where(IMAGE > 0, np.float32(1), np.float32(-1))
    config = replace(MOVING, rotate=1.0, zoom=0.5, gamma=1.0, vessel_crops=0.5)
    for seed in range(200):
        for array in example(config, seed, image=hard):
            assert np.isfinite(array).all()
            assert np.abs(array).max() <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(10, 52), (40, 9), (12, 13)])
def test_an_image_smaller_than_the_crop_is_mirrored_as_in_prediction(shape: tuple[int, int]) -> None:
    image = IMAGE[: shape[0], : shape[1]]
    made, target = example(PLAIN, 0, image=image)
    assert made.shape == (CROP, CROP)
    np.testing.assert_array_equal(made, target)
    canvas = Canvas(image, None, CROP, 0.0)
    windows = [window.image for window in canvas.windows(np.zeros((1, *canvas.shape), np.float32))]
    larger = mirrored(image, CROP)
    assert any(np.array_equal(larger[:CROP, :CROP], window) for window in windows)
    assert any(
        np.array_equal(made, larger[top : top + CROP, left : left + CROP])
        for top in range(larger.shape[0] - CROP + 1)
        for left in range(larger.shape[1] - CROP + 1)
    )


@pytest.mark.parametrize("shape", [(CROP, CROP), (CROP, 52), (40, CROP)])
def test_an_image_no_larger_than_the_crop_is_used_whole(shape: tuple[int, int]) -> None:
    image = IMAGE[: shape[0], : shape[1]]
    for vessel_crops in (0.0, 1.0):
        made, _ = example(replace(PLAIN, vessel_crops=vessel_crops), 0, image=image)
        assert made.shape == (CROP, CROP)
        if shape == (CROP, CROP):
            np.testing.assert_array_equal(made, image)
