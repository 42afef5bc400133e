"""The topology of masks: skeletons, clDice, Betti numbers and vessel junctions.

Connectivity is the usual pair of digital topology (Rosenfeld 1970): two foreground pixels that touch at a corner are
connected (8-connectivity), two background pixels only if they share an edge (4-connectivity). Skeletons are
scikit-image's, by the method of Zhang and Suen (1984).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import skeletonize

_EIGHT = np.ones((3, 3), dtype=bool)

Mask = Bool[np.ndarray, "H W"]


@dataclass(frozen=True)
class Betti:
    """The numbers of connected parts (b0) and of holes (b1) of a mask."""

    b0: int
    b1: int


def betti(mask: Mask) -> Betti:
    """The exact Betti numbers of a mask's foreground.

    b0 is the number of 8-connected components. b1 is b0 minus the Euler number (of 8-connectivity), which is the
    number of 4-connected parts of the background that do not reach the image's border. An empty mask has (0, 0).

    Raises:
        ValueError: the mask is not bool of two dimensions.
    """
    _check(mask)
    b0 = int(ndimage.label(mask, structure=_EIGHT)[1])
    return Betti(b0, b0 - int(euler_number(mask, connectivity=2)))


def skeleton(mask: Mask) -> Mask:
    """The mask thinned to lines one pixel wide. It is empty only if the mask is empty.

    Raises:
        ValueError: the mask is not bool of two dimensions.
    """
    _check(mask)
    return np.asarray(skeletonize(mask), dtype=bool)


class Shape:
    """A mask with its skeleton and Betti numbers, each computed once however many masks it is compared with."""

    def __init__(self, mask: Mask):
        _check(mask)
        self.mask = mask

    @cached_property
    def skeleton(self) -> Mask:
        return skeleton(self.mask)

    @cached_property
    def betti(self) -> Betti:
        return betti(self.mask)


def cldice(prediction: Shape, truth: Shape) -> float:
    """The centreline Dice of Shit et al. ("clDice", CVPR 2021, arXiv:2003.07311).

    It is the harmonic mean of topology precision |S(P) and T| / |S(P)| and topology sensitivity |S(T) and P| / |S(T)|,
    where S is the skeleton, P the predicted and T the true mask. It is 1 if both masks are empty, and 0 if only one is
    or if neither skeleton meets the other mask.
    """
    of_prediction, of_truth = int(np.count_nonzero(prediction.skeleton)), int(np.count_nonzero(truth.skeleton))
    if not of_prediction or not of_truth:
        return float(of_prediction == of_truth)
    precision = int(np.count_nonzero(prediction.skeleton & truth.mask)) / of_prediction
    sensitivity = int(np.count_nonzero(truth.skeleton & prediction.mask)) / of_truth
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def topology_metrics(prediction: Mask | Shape, truth: Mask | Shape) -> dict[str, float]:
    """clDice and the Betti errors of a predicted mask.

    flowseg.evaluation.metric_table defines each, and says what it is if a mask is empty. The Betti errors compare
    numbers over the whole image, not places: a part lost here and a false one there cancel out (Hu et al., NeurIPS
    2019, arXiv:1906.05404, average them over random patches instead).

    Args:
        prediction, truth: masks of one shape; as a `Shape` if the mask is compared more than once.

    Raises:
        ValueError: the masks are not bool of two dimensions, or differ in shape.
    """
    p, t = (mask if isinstance(mask, Shape) else Shape(mask) for mask in (prediction, truth))
    if p.mask.shape != t.mask.shape:
        raise ValueError(f"prediction has shape {p.mask.shape}, truth has shape {t.mask.shape}")
    return {
        "cldice": cldice(p, t),
        "betti0_error": float(abs(p.betti.b0 - t.betti.b0)),
        "betti1_error": float(abs(p.betti.b1 - t.betti.b1)),
    }


def junctions(thin: Mask) -> Mask:
    """The pixels of a skeleton that have at least three skeleton pixels among their eight neighbours.

    A branching point is usually a cluster of two to four such pixels, so use them to locate junctions, not to count
    them.

    Raises:
        ValueError: the skeleton is not bool of two dimensions.
    """
    _check(thin)
    neighbours = ndimage.convolve(thin.astype(np.uint8), _EIGHT.astype(np.uint8), mode="constant") - thin
    return thin & (neighbours >= 3)


def within(places: Mask, radius: float) -> Mask:
    """The pixels at most `radius` pixels (Euclidean, between centres) from a place; none if there is no place.

    Raises:
        ValueError: the places are not bool of two dimensions.
    """
    _check(places)
    if not places.any():
        return np.zeros_like(places)
    return np.asarray(ndimage.distance_transform_edt(~places) <= radius)


def _check(mask: np.ndarray) -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"need a bool mask of two dimensions, got {mask.dtype} {mask.shape}")
