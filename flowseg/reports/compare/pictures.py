"""The pictures that `flowseg eval` writes of each image, and what a report shows of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from flowseg.data.image_files import open_image
from flowseg.errors import UserError
from flowseg.evaluation.arrays import pixels_inside
from flowseg.evaluation.overlays import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE, overlay
from flowseg.reports.compare.scores import Scores, other_pixels

MAX_SIDE = 448
"""The longer side of a picture in the report, in pixels: thin vessels are still visible, and a report with three
images of each kind stays under 5 MB."""

Grey = UInt8[np.ndarray, "h w"]
Colour = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]

VIEWS = ("image", "mask", "prediction", "probability", "uncertainty")
"""The steps of the slider, in this order; an evaluation may lack the last two."""


@dataclass(frozen=True)
class Shown:
    """The pictures of one image from one evaluation."""

    image: Grey
    truth: Mask
    prediction: Mask
    views: dict[str, Grey | Colour]
    """By names of VIEWS."""


def read_pictures(scores: Scores, key: str) -> Shown | None:
    """Reads an image's pictures; None if image, truth or prediction (which old versions did not write) is not there.

    Raises:
        UserError: a picture is damaged or differs in size from the image, or a mask has values between 0 and 255.
    """
    folder = _folder(scores, key)
    image = _read(folder / "image.png")
    if image is None:
        return None
    truth, prediction = (_read_mask(folder / f"{name}.png", image) for name in ("truth", "prediction"))
    if truth is None or prediction is None:
        return None
    views: dict[str, Grey | Colour] = {
        "image": image,
        "mask": truth.astype(np.uint8) * 255,
        "prediction": overlay(image, prediction, truth),
    }
    for view in ("probability", "uncertainty"):
        found = _read(folder / f"{view}.png", image)
        if found is not None:
            views[view] = found
    return Shown(image, truth, prediction, views)


def read_probability(scores: Scores, key: str) -> tuple[UInt8[np.ndarray, "..."], Bool[np.ndarray, "..."]] | None:
    """Reads the probability, in 255ths, and the truth of an image's pixels, or of those inside its field of view.

    None if one of the pictures is not there.

    Raises:
        UserError: as `read_pictures`.
    """
    folder = _folder(scores, key)
    probability = _read(folder / "probability.png")
    truth = None if probability is None else _read_mask(folder / "truth.png", probability)
    if probability is None or truth is None:
        return None
    fov = _read_mask(folder / "fov.png", probability)
    return pixels_inside(probability, fov), pixels_inside(truth, fov)


def check_same_pixels(first: Scores, other: Scores, keys: tuple[str, ...]) -> None:
    """Raises a UserError if an image, its true mask or its field of view differs between two evaluations.

    Images of which one evaluation has no picture are not checked.
    """
    for key in keys:
        for name in ("image.png", "truth.png", "fov.png"):
            one, two = _read(_folder(first, key) / name), _read(_folder(other, key) / name)
            if one is not None and two is not None and not np.array_equal(one, two):
                raise other_pixels(first, other, key)


def difference_picture(first: Shown, second: Shown) -> Colour:
    """Where the second prediction differs from the first, over the dimmed image.

    Green: right now and wrong before. Orange: wrong now and right before. Blue: wrong in both.
    """
    was, now = first.prediction == first.truth, second.prediction == second.truth
    out = np.repeat((first.image // 2)[..., None], 3, axis=2)
    for mask, colour in ((~was & now, TRUE_POSITIVE), (was & ~now, FALSE_POSITIVE), (~was & ~now, FALSE_NEGATIVE)):
        out[mask] = colour
    return out


def _folder(scores: Scores, key: str) -> Path:
    return scores.folder / "images" / Path(key).name


def _read_mask(path: Path, image: Grey) -> Mask | None:
    picture = _read(path, image)
    if picture is not None and not np.isin(picture, (0, 255)).all():
        raise UserError(f"{path}: holds other values than 0 and 255; evaluate the run again")
    return picture == 255 if picture is not None else None


def _read(path: Path, image: Grey | None = None) -> Grey | None:
    """A grey picture, of the size of `image` if that is given; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        with open_image(path) as file:
            found = np.asarray(file.convert("L"))
    except UserError as error:
        raise UserError(f"{error} (or evaluate the run again)") from None
    if image is not None and found.shape != image.shape:
        raise UserError(f"{path}: is {found.shape}, the image {image.shape}; evaluate the run again")
    return found
