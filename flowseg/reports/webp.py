"""Pictures of a report as WebP files."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flowseg.data.dataset import shrunk


def encode(
    picture: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"],
    exact: bool = False,
    largest: int | None = None,
    quality: int = 82,
) -> bytes:
    """Returns a picture as a WebP file, with its longer side at most `largest` pixels.

    It is lossless if `exact` (masks), else of a quality from 0 to 100.
    """
    if largest is not None:
        picture = shrunk(picture, largest)
    file, whole = io.BytesIO(), np.ascontiguousarray(picture)
    Image.fromarray(whole).save(file, format="WEBP", quality=quality, lossless=exact, method=4)
    return file.getvalue()
