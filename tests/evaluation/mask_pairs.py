"""Masks for comparing metrics with other implementations: random masks, vessels and degenerate masks."""

from itertools import product

import cv2
import numpy as np

H, W = 17, 23


def degenerate() -> dict[str, np.ndarray]:
    """Masks of one size that are edge cases of metrics, by name."""
    y, x = np.mgrid[:H, :W]
    radius = np.hypot(y - H // 2, x - W // 2)
    return {
        "empty": np.zeros((H, W), dtype=bool),
        "full": np.ones((H, W), dtype=bool),
        "one pixel": (y == 8) & (x == 11),
        "a pixel in the corner": (y == 0) & (x == W - 1),
        "all but one pixel": ~((y == 4) & (x == 5)),
        "half, to three borders": x < W // 2,
        "the frame": (y == 0) | (y == H - 1) | (x == 0) | (x == W - 1),
        "checkerboard": (y + x) % 2 == 0,
        "other checkerboard": (y + x) % 2 == 1,
        "row": y == 5,
        "column on the border": x == 0,
        "diagonal": y == x,
        "thin ring": np.abs(radius - 6) < 0.6,
        "thick ring": np.abs(radius - 5) < 2.1,
        "disc": radius < 4.2,
        "two discs": (np.hypot(y - 4, x - 4) < 3) | (np.hypot(y - 11, x - 18) < 3),
        "grid": (y % 4 == 0) | (x % 5 == 0),
    }


def degenerate_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """All 289 pairs of the degenerate masks."""
    masks = degenerate().values()
    return list(product(masks, masks))


def random_pairs(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Alternately vessels, some of them missing or false in the prediction, and noise of random density and size."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(count):
        if i % 2:
            shape = tuple(rng.integers(1, 30, 2))
            pairs.append((rng.random(shape) < rng.random(), rng.random(shape) < rng.random()))
        else:
            pairs.append(vessels(rng))
    return pairs


def vessels(rng: np.random.Generator, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A predicted and a true mask of winding lines 1 to 4 pixels wide; some lines are in only one of the two."""
    drawn = np.zeros((2, size, size), np.uint8)
    for _ in range(5):
        line = np.cumsum(rng.normal(0, size / 8, (8, 2)), axis=0) + rng.uniform(0, size, 2)
        width, kept = int(rng.integers(1, 5)), rng.random(2) < 0.8
        for canvas, keep in zip(drawn, kept, strict=True):
            if keep:
                moved = np.round(line + rng.normal(0, 0.7, 2)).astype(np.int32)
                cv2.polylines(canvas, [moved], isClosed=False, color=1, thickness=width)
    return drawn[0] > 0, drawn[1] > 0
