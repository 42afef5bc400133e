"""Crops and augmentation of one training example: a function of its random generator."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowseg.config import DataConfig
from flowseg.data.dataset import mirrored
from flowseg.data.targets import restore_target

Image = Float32[np.ndarray, "h w"]


def _corner(
    target: Image, fov: Bool[np.ndarray, "h w"] | None, crop: int, config: DataConfig, rng: np.random.Generator
) -> tuple[int, int]:
    """Returns the top-left corner of a crop that is centred on a random vessel or background pixel, inside the fov.

    An image without vessel pixels, or without background, has crops of the other kind only.
    """
    h, w = target.shape
    kinds = [target > 0, target <= 0]
    if fov is not None:
        kinds = [pixels & fov for pixels in kinds]
    wanted, other = kinds if rng.random() < config.vessel_crops else kinds[::-1]
    pixels = np.flatnonzero(wanted if wanted.any() else other)
    y, x = divmod(int(pixels[rng.integers(len(pixels))]), w)
    return int(np.clip(y - crop // 2, 0, h - crop)), int(np.clip(x - crop // 2, 0, w - crop))


def _turned_crop(image: Image, top: int, left: int, crop: int, degrees: float, zoom: float) -> Image:
    """Returns the crop rotated and enlarged about its centre; outside the image the pixels are mirrored."""
    centre = (crop - 1) / 2
    matrix = cv2.getRotationMatrix2D((left + centre, top + centre), degrees, zoom)
    matrix[:, 2] -= (left, top)
    return cv2.warpAffine(image, matrix, (crop, crop), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def random_example(
    image: Image,
    target: Image,
    config: DataConfig,
    rng: np.random.Generator,
    fov: Bool[np.ndarray, "h w"] | None = None,
) -> tuple[Float32[np.ndarray, "c c"], ...]:
    """Returns one augmented crop of an image in [-1, 1], of its target map and, if given, of its field of view.

    The crop of the field of view is 1 inside and 0 outside.

    Images smaller than a crop are mirrored up to it, as in prediction. Applies a crop, a small rotation and a zoom
    (bilinear for all maps), flips, quarter turns, and a change of gamma of the image's grey values, each with the
    probability that the config gives.
    """
    crop = config.crop
    maps = [mirrored(image, crop), mirrored(target, crop)]
    if fov is not None:
        fov = mirrored(fov, crop)
        maps.append(fov.astype(np.float32))
    top, left = _corner(maps[1], fov, crop, config, rng)
    degrees, zoom = 0.0, 1.0
    if rng.random() < config.rotate:
        degrees = float(rng.uniform(-config.rotate_degrees, config.rotate_degrees))
    if rng.random() < config.zoom:
        zoom = float(rng.uniform(*config.zoom_range))
    if (degrees, zoom) != (0, 1):
        maps = [_turned_crop(a, top, left, crop, degrees, zoom) for a in maps]
        maps[1] = restore_target(maps[1], config.target)
        maps[2:] = [(a >= 0.5).astype(np.float32) for a in maps[2:]]
    else:
        maps = [a[top : top + crop, left : left + crop] for a in maps]
    for axis in (0, 1):
        if rng.random() < config.flip:
            maps = [np.flip(a, axis) for a in maps]
    if rng.random() < config.quarter_turn:
        turns = int(rng.integers(1, 4))
        maps = [np.rot90(a, turns) for a in maps]
    if rng.random() < config.gamma:
        gamma = float(rng.uniform(*config.gamma_range))
        maps[0] = (2 * ((maps[0] + 1) / 2) ** gamma - 1).astype(np.float32)
    return tuple(np.ascontiguousarray(a) for a in maps)
