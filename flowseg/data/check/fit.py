"""Whether a label fits its image: the contrast along its border, and whether it lies beside its vessels."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32
from scipy import fft

RING = 4
"""How wide the surroundings of a label are, in pixels."""
FAR = 2.5
"""How far a label has to move to fit best, in pixels of an image of at most SIDE, to be called displaced. Right labels
stay within 1.5 (docs/data_check.md)."""
SIDE = 512
"""Larger images are scaled down to this longer side, in pixels, before a label is moved over them."""
_REACH = 16  # how far a label is moved in each direction, pixels
_BLUR = 8.0  # standard deviation of the blur that is subtracted from image and label, pixels


@dataclass(frozen=True)
class Fit:
    """How a label lies on its image."""

    contrast: float
    """How much brighter vessels are than their surroundings, in standard deviations of both; negative if darker."""
    move: tuple[float, float]
    """Where the label fits best, in pixels to the right and down from where it is."""
    agreement: float
    """Correlation of image and label there, without sign."""
    displaced: bool
    """Whether that is so far away that the label is in the wrong place, or belongs to another image."""


def measure_fit(image: Float32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> Fit | None:
    """Returns how a label lies on its image; None if the label is empty or leaves no surroundings."""
    vessel = mask.astype(np.uint8)
    around = (cv2.dilate(vessel, _disc(RING + 1)) > 0) & (cv2.dilate(vessel, _disc(1)) == 0)
    if not mask.any() or not around.any():
        return None
    inside, outside = image[mask], image[around]
    spread = float(np.concatenate([inside, outside]).std())
    contrast = float(inside.mean() - outside.mean()) / spread if spread else 0.0
    scale = min(SIDE / max(mask.shape), 1.0)
    right, down, agreement = _best_move(_fine(image, scale), _fine(mask.astype(np.float32), scale))
    return Fit(contrast, (right / scale, down / scale), agreement, bool(np.hypot(right, down) >= FAR))


def _best_move(image: Float32[np.ndarray, "h w"], label: Float32[np.ndarray, "h w"]) -> tuple[int, int, float]:
    """Returns how many pixels to the right and down the label correlates best with the image, and how well.

    The sign of the correlation does not count: vessels may be darker or brighter. Both wrap around at the borders.
    """
    norm = float(np.linalg.norm(image) * np.linalg.norm(label))
    product = fft.irfft2(np.conj(fft.rfft2(label)) * fft.rfft2(image), s=image.shape)
    downs, rights = (np.arange(-min(_REACH, side // 4), min(_REACH, side // 4) + 1) for side in image.shape)
    near = np.abs(product[np.ix_(downs, rights)])
    down, right = np.unravel_index(int(near.argmax()), near.shape)
    return int(rights[right]), int(downs[down]), float(near.max()) / norm if norm else 0.0


def _fine(values: Float32[np.ndarray, "h w"], scale: float) -> Float32[np.ndarray, "h w"]:
    """Returns an image, scaled down, without its coarse structure."""
    if scale < 1:
        size = (max(round(values.shape[1] * scale), 1), max(round(values.shape[0] * scale), 1))
        values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))
    return values - cv2.GaussianBlur(values, (0, 0), _BLUR)


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
