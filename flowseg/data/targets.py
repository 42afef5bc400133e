"""Targets of the training: maps in [-1, 1] made from a mask, positive inside vessels."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowseg.config import TargetKind


def mask_target(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Returns 2 mask - 1."""
    return np.where(mask, np.float32(1), np.float32(-1))


def _distance(inside: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Returns the distance to the nearest pixel outside, in pixels, by OpenCV's 5x5 chamfer as the original did."""
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)


def sauna_target(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Returns the SAUNA map, mode h (Dang et al., WACV 2025): how sure an annotator is of each pixel.

    b is the signed distance to the border over the image's largest inside distance r, not below -1; t is the
    distance, max-pooled over an odd window of at least r pixels, over r: near 1 in thick vessels, small in thin ones.
    The map is b + (1 - t) inside and b - (1 - t) outside within r of the border, clipped to [-1, 1]. An empty mask
    gives -1 everywhere, a full one +1.
    """
    if not mask.any() or mask.all():
        return mask_target(mask)
    inside, outside = _distance(mask), _distance(~mask)
    radius = inside.max()
    window = int(np.ceil(radius))
    window += 1 - window % 2
    border = np.maximum((inside - outside) / radius, -1)
    kernel = np.ones((window, window), np.uint8)
    thick_in = cv2.dilate(inside, kernel) / radius
    thick_out = cv2.dilate(np.minimum(outside, radius), kernel) / radius
    uncertain = np.where(mask, 1 - thick_in, -(1 - thick_out) * (thick_out > 0))
    return np.clip(border + uncertain, -1, 1).astype(np.float32)


def make_target(coverage: Float32[np.ndarray, "h w"], kind: TargetKind) -> Float32[np.ndarray, "h w"]:
    """Returns the target map of a whole image, from the share of each pixel's area that is vessel."""
    if kind == "coverage":
        return 2 * coverage - 1
    mask = coverage >= 0.5
    return sauna_target(mask) if kind == "sauna" else mask_target(mask)


def restore_target(interpolated: Float32[np.ndarray, "h w"], kind: TargetKind) -> Float32[np.ndarray, "h w"]:
    """Returns a target map after interpolation; a `mask` target is set back to -1 and, from half a vessel on, 1."""
    return mask_target(interpolated >= 0) if kind == "mask" else interpolated
