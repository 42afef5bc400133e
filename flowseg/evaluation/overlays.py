"""Pictures of masks over images, in the colours of Okabe and Ito (2008), which colour-blind readers can tell apart."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flowseg.data.dataset import shrunk
from flowseg.evaluation.arrays import Grey, Mask, check_grey, check_masks
from flowseg.files import replaced_file

TRUE_POSITIVE = (0, 158, 115)  # bluish green
FALSE_POSITIVE = (213, 94, 0)  # vermilion
FALSE_NEGATIVE = (86, 180, 233)  # sky blue: the darker blue of the palette is invisible on dark angiograms
PREDICTED = (240, 228, 66)  # yellow: a prediction without a truth to compare with

OPACITY = 0.85
"""The weight of the colour in a marked pixel; the rest is the image, so that its texture stays visible."""

_BITS = 4
"""Fractional bits of an outline's coordinates."""

GAP = 4
"""The width of the white gap between the panels of a strip, in pixels."""

RGB = UInt8[np.ndarray, "H W 3"]


def overlay(image: Grey, prediction: Mask, truth: Mask | None = None) -> RGB:
    """Draws a predicted mask over its grey image; unmarked pixels keep their grey value.

    With the true mask, pixels are coloured `TRUE_POSITIVE`, `FALSE_POSITIVE` or `FALSE_NEGATIVE`; without it, the
    prediction is drawn in `PREDICTED`. Raises a ValueError if the shapes differ or a dtype is wrong.
    """
    check_grey(image)
    check_masks(image.shape, prediction=prediction)
    layers = [(prediction, PREDICTED)]
    if truth is not None:
        check_masks(image.shape, truth=truth)
        layers = [
            (prediction & truth, TRUE_POSITIVE),
            (prediction & ~truth, FALSE_POSITIVE),
            (~prediction & truth, FALSE_NEGATIVE),
        ]
    out = np.repeat(image[..., None], 3, axis=2)
    for mask, colour in layers:
        blend = (1.0 - OPACITY) * out[mask] + OPACITY * np.asarray(colour, dtype=np.float64)
        out[mask] = np.rint(blend).astype(np.uint8)
    return out


def outline(image: Grey, mask: Mask, side: int) -> RGB:
    """Draws a mask's outline in `PREDICTED` over its grey image, scaled down to at most `side` pixels.

    The line is one pixel wide at any scale, so that thin vessels neither vanish nor become blots. Raises a ValueError
    if the shapes differ or a dtype is wrong.
    """
    check_grey(image)
    check_masks(image.shape, mask=mask)
    scale = min(side / max(image.shape), 1.0)
    out = np.repeat(shrunk(image, side)[..., None], 3, axis=2)
    borders, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [np.round(((border + 0.5) * scale - 0.5) * 2**_BITS).astype(np.int32) for border in borders]
    return np.asarray(cv2.polylines(out, lines, True, PREDICTED, 1, cv2.LINE_AA, _BITS))


def grey(values: np.ndarray) -> Grey:
    """Returns probabilities or a mask as grey values: 0 is black, 1 is white."""
    return np.round(values * 255.0).astype(np.uint8)


def strip(panels: Sequence[RGB | Grey]) -> RGB:
    """Puts panels of the same height side by side, from left to right, `GAP` white pixels apart.

    Raises a ValueError if there is no panel, the heights differ, or a panel is not a grey or RGB image of uint8.
    """
    if not panels:
        raise ValueError("need at least one panel")
    for panel in panels:
        _check_picture(panel)
    heights = [panel.shape[0] for panel in panels]
    if len(set(heights)) > 1:
        raise ValueError(f"panels must have equal heights, got {heights}")
    gap = np.full((heights[0], GAP, 3), 255, dtype=np.uint8)
    parts: list[np.ndarray] = []
    for panel in panels:
        parts += [gap, panel if panel.ndim == 3 else np.repeat(panel[..., None], 3, axis=2)]
    return np.concatenate(parts[1:], axis=1)


def save_png(path: Path, array: RGB | Grey) -> None:
    """Writes a PNG file into an existing folder, completely or not at all (flowseg.files.replaced_file).

    Raises a ValueError if the array is not a grey or RGB image of uint8, and an OSError if the file cannot be written;
    an earlier file is then left as it was.
    """
    _check_picture(array)
    with replaced_file(path) as part:
        Image.fromarray(array).save(part, format="PNG")


def _check_picture(array: np.ndarray) -> None:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"need a uint8 array of shape (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
