"""From a probability to a mask: the threshold, and the size below which connected components are removed."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

FIXED = 0.5
"""The fixed threshold."""

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class MaskRule:
    """What makes a mask of a probability, at the image's stored size."""

    threshold: float = FIXED
    """A pixel is vessel if its probability exceeds it."""
    min_component: int = 0
    """Connected components of the mask with fewer pixels are removed; 0 keeps all."""

    def mask(self, probability: Float32[np.ndarray, "h w"], fov: Mask | None = None) -> Mask:
        """Returns the mask; with a field of view nothing outside is vessel, and components are of what is inside."""
        mask = probability > self.threshold
        return without_small_components(mask if fov is None else mask & fov, self.min_component)

    def __str__(self) -> str:
        # No component has fewer than one pixel.
        removed = f", components of fewer than {self.min_component} pixels removed" if self.min_component > 1 else ""
        return f"probability above {self.threshold:g}{removed}"


PLAIN = MaskRule()
"""The rule without anything tuned: the fixed threshold, and all components."""


def components(mask: Mask) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, " components"]]:
    """Returns the number of each pixel's connected component, 0 for background, and the size of each in pixels.

    The first size is that of the background. Pixels that touch at an edge or a corner belong to one component
    (8-connectivity, as the Betti numbers).
    """
    _, numbers, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return numbers, found[:, cv2.CC_STAT_AREA]


def dice_by_threshold(
    passed: Int[np.ndarray, " pixels"], truth: Bool[np.ndarray, " pixels"], thresholds: int
) -> Float64[np.ndarray, " thresholds"]:
    """Returns the Dice of the pixels that pass each of so many ascending thresholds; 1 where both masks are empty.

    Args:
        passed: how many of the thresholds each pixel passes.
    """
    predicted, hit = (
        np.bincount(counts, minlength=thresholds + 1)[::-1].cumsum()[::-1][1:] for counts in (passed, passed[truth])
    )
    total = predicted + np.count_nonzero(truth)
    return np.where(total > 0, 2 * hit / np.maximum(total, 1), 1.0)


def without_small_components(mask: Mask, size: int) -> Mask:
    """Returns the mask without its components of fewer than `size` pixels."""
    if size <= 1:
        return mask
    numbers, sizes = components(mask)
    kept = sizes >= size
    kept[0] = False
    return np.asarray(kept[numbers])
