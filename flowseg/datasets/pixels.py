"""Images and masks of a download as arrays, without loss."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Num

from flowseg.data.image_files import DEEP_GREY, Stored, decode, read_stored, two_valued
from flowseg.datasets.source import SourceFile
from flowseg.errors import UserError

_WITHOUT_LOSS = ("1", "L", "LA", "P", "RGB", "RGBA", *DEEP_GREY)
"""Pillow's modes of pixels that a PNG of flowseg keeps."""


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


def read_pixels(file: SourceFile) -> Stored:
    """Returns an image as stored: uint8 of shape [h, w] or [h, w, 3] (RGB), or uint16 of shape [h, w].

    Raises:
        UserError: the image cannot be read, or not without loss.
    """
    stored = read_stored(file.path, file.read())
    if stored.mode not in _WITHOUT_LOSS or stored.pixels.dtype.kind == "f":
        raise UserError(f"{file.path}: its pixels (mode {stored.mode}) are neither grey nor RGB; convert it")
    return stored


def read_mask(file: SourceFile, vessel: Values | None = None) -> Bool[np.ndarray, "h w"]:
    """Returns where a label is vessel: at the given grey values, or by default at its one value other than 0.

    Raises:
        UserError: the file cannot be read, or has more values and `vessel` is None.
    """
    grey = decode(file.path, file.read())
    return vessel.mask(grey) if vessel else two_valued(grey, file.path, "say which of them are vessel: --label-values")
