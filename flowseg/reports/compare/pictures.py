"""The pictures of an evaluation, and what a report shows of them.

An overlay is written as image | image with the prediction's pixels coloured as found, false or missed
(flowseg.evaluation.overlays): from it mask and prediction can be read back exactly, whatever threshold made them.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from flowseg.errors import UserError
from flowseg.evaluation.overlays import FALSE_NEGATIVE, FALSE_POSITIVE, GAP, OPACITY, TRUE_POSITIVE
from flowseg.reports.compare.scores import Scores, other_pixels

MAX_SIDE = 448
"""Longer side of a picture in the report, pixels: thin vessels are still there, and a report of three images of each
kind stays under 5 MB."""

_QUALITY = 82  # of WebP, for grey images and overlays; masks are kept exactly
_CLASSES = (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)

Grey = UInt8[np.ndarray, "h w"]
Colour = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]

VIEWS = ("image", "mask", "prediction", "probability", "uncertainty")
"""What the slider moves through, in this order; an evaluation may lack the last two."""


@dataclass(frozen=True)
class Shown:
    """One image's pictures of one run."""

    views: dict[str, Grey | Colour]
    """By name of VIEWS."""
    prediction: Mask
    truth: Mask
    image: Grey


def read_pictures(scores: Scores, key: str) -> Shown | None:
    """An image's pictures from an evaluation's overlays/ and images/; None where there is no overlay.

    Raises:
        UserError: a picture is damaged or of another size than the overlay.
    """
    panels = _panels(scores, key)
    if panels is None:
        return None
    image, drawn = panels
    prediction, truth = read_overlay(drawn)
    views: dict[str, Grey | Colour] = {"image": image, "mask": truth.astype(np.uint8) * 255, "prediction": drawn}
    for view in ("probability", "uncertainty"):
        file = scores.folder / "images" / Path(key).name / f"{view}.png"
        if file.is_file():
            found = _read(file)
            if found.shape != image.shape:
                raise UserError(f"{file}: is {found.shape}, the image {image.shape}; evaluate the run again")
            views[view] = found
    return Shown(views, prediction, truth, image)


def _panels(scores: Scores, key: str) -> tuple[Grey, Colour] | None:
    """Image and overlay; None where there is no such file."""
    path = scores.folder / "overlays" / f"{Path(key).name}.png"
    if not path.is_file():
        return None
    picture = _read(path)
    width = (picture.shape[1] - GAP) // 2
    if picture.ndim != 3 or width < 1 or 2 * width + GAP != picture.shape[1]:
        raise UserError(f"{path}: is no overlay of `flowseg eval`; make it again")
    return picture[:, :width, 0], picture[:, width + GAP :]


def read_overlay(drawn: Colour) -> tuple[Mask, Mask]:
    """Predicted and true mask of an overlay that was drawn with a truth.

    An unmarked pixel is grey. A marked one is grey mixed with one of three colours: the differences between its
    channels are the colour's own, scaled.
    """
    red, green, blue = drawn[..., 0], drawn[..., 1], drawn[..., 2]
    marked = (red != green) | (green != blue)
    channels = drawn[marked].astype(np.float32)
    off = np.stack([channels[:, 0] - channels[:, 1], channels[:, 1] - channels[:, 2]], axis=-1)
    colours = OPACITY * np.array([[r - g, g - b] for r, g, b in _CLASSES], np.float32)
    nearest = np.argmin(((off[:, None] - colours) ** 2).sum(-1), axis=-1)
    prediction, truth = np.zeros_like(marked), np.zeros_like(marked)
    prediction[marked], truth[marked] = nearest != 2, nearest != 1
    return prediction, truth


def check_same_pixels(first: Scores, other: Scores, keys: tuple[str, ...]) -> None:
    """Raises a UserError where an image or its label differs between two evaluations; one without overlay passes."""
    for key in keys:
        one, two = _panels(first, key), _panels(other, key)
        if one is None or two is None:
            continue
        if not np.array_equal(one[0], two[0]) or not np.array_equal(read_overlay(one[1])[1], read_overlay(two[1])[1]):
            raise other_pixels(first, other, key)


def difference_picture(first: Shown, second: Shown) -> Colour:
    """Where the second differs from the first over the dimmed image: right now (green), wrong now (orange), and wrong
    in both (blue)."""
    was, now = first.prediction == first.truth, second.prediction == second.truth
    out = np.repeat((first.image // 2)[..., None], 3, axis=2)
    for mask, colour in ((~was & now, TRUE_POSITIVE), (was & ~now, FALSE_POSITIVE), (~was & ~now, FALSE_NEGATIVE)):
        out[mask] = colour
    return out


def encode(picture: Grey | Colour, exact: bool = False, largest: int | None = MAX_SIDE) -> bytes:
    """A WebP file of the picture, made smaller where its longer side exceeds `largest`; without loss if `exact`."""
    h, w = picture.shape[:2]
    scale = largest / max(h, w) if largest is not None else 1.0
    if scale < 1:
        size = (max(round(w * scale), 1), max(round(h * scale), 1))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        file, format="WEBP", quality=_QUALITY, lossless=exact, method=4
    )
    return file.getvalue()


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as file:
            return np.asarray(file if file.mode in ("L", "RGB") else file.convert("L"))
    except OSError as error:
        raise UserError(f"{path}: is no picture ({error}); evaluate the run again") from None
