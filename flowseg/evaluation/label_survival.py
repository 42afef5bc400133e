"""How far images can be scaled down before their labels are lost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool

from flowseg.data.dataset import resample
from flowseg.data.folders import Pair, find_pairs
from flowseg.data.image_files import read_label
from flowseg.evaluation.overlap import overlap_metrics

SIDES = (192, 224, 256, 288, 320, 384, 448, 512)
"""Sizes that are tried, in pixels of the longer side."""
KEPT = 0.985
"""Dice that a label has to keep, on average."""
_LABELS = 32  # so many are read, at equal distances
_FEW = 100
"""With fewer training images of 192x192 pixels than this, longer training only fits them more closely."""
_LARGER = 256
"""Image size used for larger sets, in pixels."""


def label_survival(label: Bool[np.ndarray, "h w"], side: int) -> float:
    """Returns the Dice of a label with itself, scaled down to `side` pixels (area means), back up, and cut at 1/2."""
    h, w = label.shape
    small = resample(label.astype(np.float32), side)
    back = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR) > 0.5
    return overlap_metrics(back, label)["dice"]


@cache
def working_side(root: Path) -> tuple[int | None, float]:
    """Returns `survived_side` of a data set's training split.

    Raises:
        UserError: the training split is missing or has a file that cannot be read.
    """
    return survived_side(find_pairs(root, "train"))


def survived_side(pairs: Sequence[Pair]) -> tuple[int | None, float]:
    """Returns the smallest of `SIDES` that the labels of some pairs survive, and their mean Dice at it.

    They survive if they keep a Dice of `KEPT`. If they survive none of the sizes, that is None, and the Dice 1.

    Raises:
        UserError: a label cannot be read.
    """
    labels = _some_labels(pairs)
    for side in SIDES:
        kept = _mean_survival(labels, side)
        if kept >= KEPT:
            return side, kept
    return None, 1.0


def mean_survival(pairs: Sequence[Pair], side: int) -> float:
    """Returns the Dice that the labels of some pairs keep at `side` pixels, on average.

    Raises:
        UserError: a label cannot be read.
    """
    return _mean_survival(_some_labels(pairs), side)


def _some_labels(pairs: Sequence[Pair]) -> list[Bool[np.ndarray, "h w"]]:
    return [read_label(pair.label) for pair in pairs[:: -(-len(pairs) // _LABELS)]]


def _mean_survival(labels: Sequence[Bool[np.ndarray, "h w"]], side: int) -> float:
    return float(np.mean([label_survival(label, side) for label in labels]))


@dataclass(frozen=True)
class ReducedSize:
    """At what size the reduced recipe trains on a data set (docs/recipes.md)."""

    max_side: int | None
    """Longer side of the images, in pixels, after they were scaled down; None: they are not."""
    crop: int
    """Side of a crop."""
    few: bool
    """Whether there are too few images for the whole recipe."""


def reduced_size(images: int, side: int | None) -> ReducedSize:
    """Returns the size for so many training images whose labels survive `side` pixels (`survived_side`)."""
    # Of large images each crop shows a part.
    crops_per_image = (side / SIDES[0]) ** 2 if side else math.inf
    if images * crops_per_image < _FEW:
        return ReducedSize(side, SIDES[0], few=True)
    return ReducedSize(max(side, _LARGER) if side else None, _LARGER, few=False)
