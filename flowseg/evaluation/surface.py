"""Distances between the outlines of two masks, in pixels.

The surface of a mask is its outermost layer of pixels: those that have one of their four edge neighbours in the
background or outside the image. MedPy and MONAI define it in the same way; DeepMind's surface-distance places the
surface between pixels and gives slightly different numbers. A vessel one or two pixels wide consists of surface only.
Distances are Euclidean, between pixel centres, at the image's stored size. Tools differ in all of this (Podobnik and
Vrtovec, arXiv:2410.02630), so only compare numbers from the same tool.
"""

import numpy as np
from jaxtyping import Float64
from scipy import ndimage

from flowseg.evaluation.arrays import Mask, check_masks

TOLERANCES = (1, 2)
"""The tolerances of surface Dice, in pixels."""


def surface(mask: Mask) -> Mask:
    """The pixels of a mask that have one of their four edge neighbours outside the mask or outside the image."""
    p = np.pad(mask, 1)
    return mask & ~(p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:])


def surface_distances(prediction: Mask, truth: Mask) -> tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " t"]]:
    """The distance from each surface pixel of one mask to the nearest surface pixel of the other, in both directions.

    They are in pixels, and in row-major order of the p surface pixels of the prediction and the t of the true mask.
    Raises a ValueError if a mask is empty, not bool or not of two dimensions, or the shapes differ.
    """
    check_masks(truth.shape, prediction=prediction, truth=truth)
    if not prediction.any() or not truth.any():
        raise ValueError("an empty mask has no surface to measure from")
    # The bounding box of both masks is enough: no shortest distance depends on a pixel outside it.
    ((rows, columns),) = ndimage.find_objects((prediction | truth).view(np.uint8))
    of_prediction, of_truth = (surface(mask)[rows, columns] for mask in (prediction, truth))
    to_truth = ndimage.distance_transform_edt(~of_truth)[of_prediction]
    to_prediction = ndimage.distance_transform_edt(~of_prediction)[of_truth]
    return to_truth, to_prediction


def surface_metrics(prediction: Mask, truth: Mask) -> dict[str, float | None]:
    """HD95, the average surface distance and surface Dice of a predicted mask, from the `surface_distances`.

    flowseg.evaluation.metric_table defines each; a distance to an empty mask does not exist (None). The percentile
    interpolates linearly. docs/evaluation.md says what other tools do differently. Raises as `surface_distances`,
    except that masks may be empty.
    """
    check_masks(truth.shape, prediction=prediction, truth=truth)
    empty = [not mask.any() for mask in (prediction, truth)]
    if any(empty):
        distance, share = (0.0, 1.0) if all(empty) else (None, 0.0)
        return {"hd95": distance, "assd": distance, **{f"surface_dice_{t}": share for t in TOLERANCES}}
    directions = surface_distances(prediction, truth)
    pooled = np.concatenate(directions)
    return {
        "hd95": max(float(np.percentile(distances, 95)) for distances in directions),
        "assd": float(pooled.mean()),
        **{f"surface_dice_{t}": float(np.mean(pooled <= t)) for t in TOLERANCES},
    }
