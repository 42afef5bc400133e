"""Pictures of masks over images, in the colours of Okabe and Ito (2008), which colour-blind readers can tell apart."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from flowseg.files import replaced_file

TRUE_POSITIVE = (0, 158, 115)  # bluish green
FALSE_POSITIVE = (213, 94, 0)  # vermilion
FALSE_NEGATIVE = (86, 180, 233)  # sky blue: the darker blue of the palette is invisible on dark angiograms
PREDICTED = (240, 228, 66)  # yellow: a prediction without a truth to compare with

OPACITY = 0.85
"""The weight of the colour in a marked pixel; the rest is the image, so that its texture stays visible."""

GAP = 4
"""The width of the white gap between the panels of a strip, in pixels."""


def overlay(
    image: UInt8[np.ndarray, "H W"],
    prediction: Bool[np.ndarray, "H W"],
    truth: Bool[np.ndarray, "H W"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws a predicted mask over its grey image.

    Args:
        image: grey image, uint8.
        prediction: predicted mask, bool.
        truth: true mask, bool. With it, pixels are coloured `TRUE_POSITIVE`, `FALSE_POSITIVE` or `FALSE_NEGATIVE`;
            without it, the prediction is drawn in `PREDICTED`.

    Returns:
        An RGB image, uint8; unmarked pixels keep their grey value.

    Raises:
        ValueError: the shapes differ, the image is not uint8 or a mask is not bool.
    """
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 of two dimensions, got {image.dtype} {image.shape}")
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask is not None and (mask.shape != image.shape or mask.dtype != np.bool_):
            raise ValueError(f"{name} must be bool {image.shape}, got {mask.dtype} {mask.shape}")
    if truth is None:
        layers = [(prediction, PREDICTED)]
    else:
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


def strip(
    panels: Sequence[UInt8[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W"]],
) -> UInt8[np.ndarray, "H W 3"]:
    """Puts panels side by side, from left to right, `GAP` white pixels apart.

    Args:
        panels: grey or RGB images, uint8, all of the same height; at least one. Widths may differ.

    Returns:
        One RGB image, uint8.

    Raises:
        ValueError: there is no panel, the heights differ, or a panel is not a grey or RGB image of uint8.
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
        if parts:
            parts.append(gap)
        parts.append(panel if panel.ndim == 3 else np.repeat(panel[..., None], 3, axis=2))
    return np.concatenate(parts, axis=1)


def save_png(path: Path, array: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> None:
    """Writes a PNG file, completely or not at all (flowseg.files.replaced_file).

    Args:
        path: the file to write or replace; its folder must exist.
        array: grey or RGB image, uint8.

    Raises:
        ValueError: the array is not a grey or RGB image of uint8.
        OSError: the file cannot be written; an earlier file at `path` is left as it was.
    """
    _check_picture(array)
    with replaced_file(path) as part:
        Image.fromarray(array).save(part, format="PNG")


def _check_picture(array: np.ndarray) -> None:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"need a uint8 array of shape (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
