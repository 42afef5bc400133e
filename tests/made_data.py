"""A small data set of made images: dark vessels on a cloudy ground, with their labels."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

COUNTS = {"train": 6, "val": 2, "test": 3}
SHAPE = (96, 112)


def angiogram(seed: int, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A grey image with a dark vessel, and its label."""
    rng = np.random.default_rng(seed)
    h, w = shape
    cloud = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), 5)
    label = np.zeros(shape, np.uint8)
    course = np.stack([np.linspace(0, w - 1, 6), rng.integers(8, h - 8, 6)], axis=1).astype(np.int32)
    cv2.polylines(label, [course], False, 255, 3)
    grey = 150 + 12 * cloud / cloud.std() - 0.25 * label + rng.normal(scale=3, size=shape)
    return grey.clip(0, 255).astype(np.uint8), label


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_data(root: Path, shape: tuple[int, int] = SHAPE, counts: Mapping[str, int] = COUNTS) -> Path:
    """Writes a data set whose images are called 0, 1, ... in each split."""
    keys = [f"{split}/{number}" for split, count in counts.items() for number in range(count)]
    for seed, key in enumerate(keys):
        split, stem = key.split("/")
        for kind, pixels in zip(("image", "label"), angiogram(seed, shape), strict=True):
            save(root / split / kind / f"{stem}.png", pixels)
    return root
