"""How far images can be scaled down before their labels are lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

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
_MULTIPLE = 16
"""Crops are a multiple of so many pixels: the network takes patches of 2x2, and halves their map three times."""


class Survival(NamedTuple):
    """How far the images of a data set can be scaled down."""

    side: int | None
    """The smallest of `SIDES` that the labels survive; None if they survive none."""
    kept: float
    """Dice that the labels keep at this size, on average; 1 without a size."""
    longer: int
    """Median of the labels' longer sides, in pixels."""


def label_survival(label: Bool[np.ndarray, "h w"], side: int) -> float:
    """Returns the Dice of a label with itself, scaled down to `side` pixels (area means), back up, and cut at 1/2."""
    h, w = label.shape
    small = resample(label.astype(np.float32), side)
    back = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR) > 0.5
    return overlap_metrics(back, label)["dice"]


@cache
def working_side(root: Path) -> Survival:
    """Returns `survived_side` of a data set's training split.

    Raises:
        UserError: the training split is missing or has a file that cannot be read.
    """
    return survived_side(find_pairs(root, "train"))


def survived_side(pairs: Sequence[Pair]) -> Survival:
    """Returns the smallest of `SIDES` at which the labels of some pairs keep a Dice of `KEPT` on average.

    Raises:
        UserError: a label cannot be read.
    """
    labels = _some_labels(pairs)
    longer = int(np.median([max(label.shape) for label in labels]))
    for side in SIDES:
        kept = _mean_survival(labels, side)
        if kept >= KEPT:
            return Survival(side, kept, longer)
    return Survival(None, 1.0, longer)


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


def reduced_size(images: int, found: Survival) -> ReducedSize:
    """Returns the size for so many training images, given how far they can be scaled down (`survived_side`)."""
    side = min(found.side or found.longer, found.longer)
    few = images * (side / SIDES[0]) ** 2 < _FEW  # of large images each crop shows a part
    max_side = found.side if few or not found.side else max(found.side, _LARGER)
    # A larger crop than the images would be filled with their mirror images.
    crop = min(SIDES[0] if few else _LARGER, found.longer)
    multiple = 2 * _MULTIPLE if crop > SIDES[0] else _MULTIPLE  # larger crops are halved in the first steps
    return ReducedSize(max_side, max(crop // multiple, 1) * multiple, few)
