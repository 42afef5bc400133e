"""The topology of masks: skeletons, clDice, Betti numbers and vessel junctions.

Connectivity is the usual pair of digital topology (Rosenfeld 1970): two foreground pixels that touch at a corner are
connected (8-connectivity), two background pixels only if they share an edge (4-connectivity). Skeletons are
scikit-image's, by the method of Zhang and Suen (1984). A mask that is not bool of two dimensions is a ValueError.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from flowseg.evaluation.arrays import Mask, check_masks

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Betti:
    """The numbers of connected components (b0) and of holes (b1) of a mask."""

    b0: int
    b1: int


def betti(mask: Mask) -> Betti:
    """The exact Betti numbers of a mask's foreground.

    b0 is the number of 8-connected components. b1 is b0 minus the Euler number (of 8-connectivity), which is the
    number of 4-connected parts of the background that do not reach the image's border. An empty mask has (0, 0).
    """
    check_masks(mask.shape, mask=mask)
    b0 = int(ndimage.label(mask, structure=_EIGHT)[1])
    return Betti(b0, b0 - int(euler_number(mask, connectivity=2)))


def skeleton(mask: Mask) -> Mask:
    """The mask thinned to lines one pixel wide. It is empty only if the mask is empty."""
    check_masks(mask.shape, mask=mask)
    return np.asarray(skeletonize(mask), dtype=bool)


class Shape:
    """A mask with its skeleton and Betti numbers, each computed once however many masks it is compared with."""

    def __init__(self, mask: Mask):
        check_masks(mask.shape, mask=mask)
        self.mask = mask

    @cached_property
    def skeleton(self) -> Mask:
        return skeleton(self.mask)

    @cached_property
    def betti(self) -> Betti:
        return betti(self.mask)


def cldice(prediction: Shape, truth: Shape) -> float:
    """The centreline Dice, as the metric table defines it. It is 0 if neither skeleton meets the other mask."""
    of_prediction, of_truth = int(np.count_nonzero(prediction.skeleton)), int(np.count_nonzero(truth.skeleton))
    if not of_prediction or not of_truth:
        return float(of_prediction == of_truth)
    precision = int(np.count_nonzero(prediction.skeleton & truth.mask)) / of_prediction
    sensitivity = int(np.count_nonzero(truth.skeleton & prediction.mask)) / of_truth
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def topology_metrics(prediction: Mask | Shape, truth: Mask | Shape) -> dict[str, float]:
    """clDice and the Betti errors of a predicted mask.

    flowseg.evaluation.metric_table defines each. The Betti errors compare numbers over the whole image, not places: a
    part lost here and a false one there cancel out. Give a mask that is compared more than once as a `Shape`. Raises a
    ValueError if the masks differ in shape.
    """
    p, t = (mask if isinstance(mask, Shape) else Shape(mask) for mask in (prediction, truth))
    check_masks(t.mask.shape, prediction=p.mask)
    return {
        "cldice": cldice(p, t),
        "betti0_error": float(abs(p.betti.b0 - t.betti.b0)),
        "betti1_error": float(abs(p.betti.b1 - t.betti.b1)),
    }


def junctions(thin: Mask) -> Mask:
    """The pixels of a skeleton that have at least three skeleton pixels among their eight neighbours.

    A branching point is usually a cluster of two to four such pixels, so use them to locate junctions, not to count
    them. FiLM's gate (`flowseg.models.junctions`) takes the crossing number instead.
    """
    check_masks(thin.shape, skeleton=thin)
    neighbours = ndimage.convolve(thin.astype(np.uint8), _EIGHT.astype(np.uint8), mode="constant") - thin
    return thin & (neighbours >= 3)


def within(places: Mask, radius: float) -> Mask:
    """The pixels at most `radius` pixels (Euclidean, between centres) from a place; none if there is no place."""
    check_masks(places.shape, places=places)
    if not places.any():
        return np.zeros_like(places)
    return np.asarray(ndimage.distance_transform_edt(~places) <= radius)
