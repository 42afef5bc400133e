"""The pictures of the FiLM analysis, as PNG files in memory; without text, they fit every screen and language."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image

from flowseg.evaluation.film_effect import FilmEffect, Shown
from flowseg.evaluation.overlays import overlay

Pictures = dict[str, bytes]
"""PNG files by their names in the report's folder."""
VIEWS = ("image", "own", "other", "difference")
"""What is shown of an image of the gallery."""

_SIDE = 400  # largest side of a picture, in pixels

Grey = UInt8[np.ndarray, "h w"]


def draw(effect: FilmEffect, greys: Sequence[Grey]) -> Pictures:
    """All pictures of a report: plots/map-CONDITION.png if all images have one size, and plots/gallery-N-VIEW.png.

    `greys` are the images of the gallery.
    """
    top = largest(effect)
    pictures = {f"plots/map-{name}.png": _png(_heat(values, top)) for name, values in effect.maps.items()}
    differences = [np.abs(shown.own - shown.other) for shown in effect.gallery]
    highest = max((float(difference.max()) for difference in differences), default=1.0)
    for i, (shown, grey, difference) in enumerate(zip(effect.gallery, greys, differences, strict=True), 1):
        views = (grey, *_masks(shown, grey), _heat(difference, highest))
        pictures |= {f"plots/gallery-{i}-{name}.png": _png(view) for name, view in zip(VIEWS, views, strict=True)}
    return pictures


def largest(effect: FilmEffect) -> float:
    """Returns the difference of probability that the lightest colour of the maps stands for."""
    return max((float(values.max()) for values in effect.maps.values()), default=0.0) or 1.0


def _masks(shown: Shown, grey: Grey) -> list[UInt8[np.ndarray, "h w 3"]]:
    return [overlay(grey, mask, shown.truth) for mask in (shown.own_mask, shown.other_mask)]


def _heat(values: Float[np.ndarray, "h w"], top: float) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray(colormaps["magma"](values / top, bytes=True)[..., :3], np.uint8)


def _png(picture: np.ndarray) -> bytes:
    h, w = picture.shape[:2]
    scale = min(_SIDE / max(h, w), 1.0)
    size = (max(round(w * scale), 1), max(round(h * scale), 1))
    file = io.BytesIO()
    Image.fromarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)).save(file, format="PNG")
    return file.getvalue()
