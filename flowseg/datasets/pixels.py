"""Images and masks of a download as arrays, without loss."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num, Shaped
from PIL import ImageFile

from flowseg.data.image_files import (
    DEEP_GREY,
    check_depth,
    check_opaque,
    decode,
    open_image,
    orientation,
    plain_type,
    two_valued,
)
from flowseg.datasets.source import SourceFile
from flowseg.errors import UserError

_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA")


@dataclass(frozen=True)
class Values:
    """The grey values of a label that count as vessel: ranges, both ends included."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, words: tuple[str, ...]) -> "Values":
        """Returns the values that words such as 255 and 128-255 name.

        Raises:
            UserError: a word is neither a number nor a range.
        """
        matches = [re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", word) for word in words]
        for word, match in zip(words, matches, strict=True):
            if match is None or int(match[2] or match[1]) < int(match[1]):
                raise UserError(f"--label-values {word}: expected numbers or ranges, for example 255 or 128-255")
        return cls(tuple((int(match[1]), int(match[2] or match[1])) for match in matches if match))

    def mask(self, grey: Num[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """Returns where a label has one of the values."""
        return np.any([(grey >= low) & (grey <= high) for low, high in self.ranges], axis=0)


def read_pixels(file: SourceFile) -> Shaped[np.ndarray, "h w *channels"]:
    """Returns an image as stored: uint8 of shape [h, w] or [h, w, 3] (RGB), or uint16 of shape [h, w].

    Raises:
        UserError: the image cannot be read, or not without loss.
    """
    path = file.path
    with open_image(path, file.read()) as image:
        highest = _highest(image)
        check_depth(image, path)
        orientation(image, path)  # it may decode the pixels, after which Pillow no longer tells how they are stored
        image.load()
        check_opaque(image, path)
        if image.mode in DEEP_GREY:
            array = plain_type(_unstretched(np.asarray(image), highest, 65535))
            if array.dtype.kind != "f":
                return array
        elif image.mode in _GREY:
            return _unstretched(np.asarray(image.convert("L")), highest, 255)
        elif image.mode in _COLOUR:
            return _unstretched(np.asarray(image.convert("RGB")), highest, 255)
        elif image.mode == "P":
            colour = np.asarray(image.convert("RGB"))
            return colour[..., 0] if (colour == colour[..., :1]).all() else colour
        raise UserError(f"{path}: its pixels (mode {image.mode}) are neither grey nor RGB; convert it")


def read_mask(file: SourceFile, vessel: Values | None = None) -> Bool[np.ndarray, "h w"]:
    """Returns where a label is vessel: at the given grey values, or by default at its one value other than 0.

    Raises:
        UserError: the file cannot be read, or has more values and `vessel` is None.
    """
    grey = decode(file.path, file.read())
    return vessel.mask(grey) if vessel else two_valued(grey, file.path, "say which of them are vessel: --label-values")


def _highest(image: ImageFile.ImageFile) -> int:
    """Returns the highest value that a PPM file says it has, or 0 for other files."""
    if not image.tile:  # a file that is cut off after its header; decoding says so
        return 0
    arguments = image.tile[0][3]
    scaled = image.format == "PPM" and image.tile[0][0] in ("ppm", "ppm_plain") and image.mode != "1"
    return int(arguments[-1]) if scaled and isinstance(arguments, tuple) else 0


def _unstretched(array: Num[np.ndarray, "*shape"], highest: int, full: int) -> Num[np.ndarray, "*shape"]:
    """Returns values as stored; Pillow stretches those of PPM files from 0..highest to 0..full."""
    return np.rint(array * (highest / full)).astype(array.dtype) if 0 < highest < full else array
