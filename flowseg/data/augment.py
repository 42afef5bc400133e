"""Crops and augmentation of one training example: a function of its random generator."""

import cv2
import numpy as np
from jaxtyping import Float32

from flowseg.config import DataConfig
from flowseg.data.dataset import mirrored
from flowseg.data.targets import restore_target

Image = Float32[np.ndarray, "h w"]


def _corner(target: Image, crop: int, config: DataConfig, rng: np.random.Generator) -> tuple[int, int]:
    """Returns the top-left corner of a crop that is centred on a random vessel or background pixel.

    An image without vessel pixels, or without background, has crops of the other kind only.
    """
    h, w = target.shape
    vessel = target > 0
    wanted = vessel if rng.random() < config.vessel_crops else ~vessel
    pixels = np.flatnonzero(wanted if wanted.any() else ~wanted)
    y, x = divmod(int(pixels[rng.integers(len(pixels))]), w)
    return int(np.clip(y - crop // 2, 0, h - crop)), int(np.clip(x - crop // 2, 0, w - crop))


def _turned_crop(image: Image, top: int, left: int, crop: int, degrees: float, zoom: float) -> Image:
    """Returns the crop rotated and enlarged about its centre; outside the image the pixels are mirrored."""
    centre = (crop - 1) / 2
    matrix = cv2.getRotationMatrix2D((left + centre, top + centre), degrees, zoom)
    matrix[:, 2] -= (left, top)
    return cv2.warpAffine(image, matrix, (crop, crop), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def random_example(
    image: Image, target: Image, config: DataConfig, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "c c"], Float32[np.ndarray, "c c"]]:
    """Returns one augmented crop of an image in [-1, 1] and of its target map.

    Images smaller than a crop are mirrored up to it, as in prediction. Applies a crop, a small rotation and a zoom
    (bilinear for both maps), flips, quarter turns, and a change of gamma of the image's grey values, each with the
    probability that the config gives.
    """
    crop = config.crop
    image, target = mirrored(image, crop), mirrored(target, crop)
    top, left = _corner(target, crop, config, rng)
    degrees, zoom = 0.0, 1.0
    if rng.random() < config.rotate:
        degrees = float(rng.uniform(-config.rotate_degrees, config.rotate_degrees))
    if rng.random() < config.zoom:
        zoom = float(rng.uniform(*config.zoom_range))
    if (degrees, zoom) != (0, 1):
        x, y = (_turned_crop(a, top, left, crop, degrees, zoom) for a in (image, target))
        y = restore_target(y, config.target)
    else:
        x, y = (a[top : top + crop, left : left + crop] for a in (image, target))
    for axis in (0, 1):
        if rng.random() < config.flip:
            x, y = np.flip(x, axis), np.flip(y, axis)
    if rng.random() < config.quarter_turn:
        turns = int(rng.integers(1, 4))
        x, y = np.rot90(x, turns), np.rot90(y, turns)
    if rng.random() < config.gamma:
        gamma = float(rng.uniform(*config.gamma_range))
        x = (2 * ((x + 1) / 2) ** gamma - 1).astype(np.float32)
    return np.ascontiguousarray(x), np.ascontiguousarray(y)
