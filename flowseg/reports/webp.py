"""Pictures of a report as WebP files."""

import io

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image


def encode(
    picture: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"],
    exact: bool = False,
    largest: int | None = None,
    quality: int = 82,
) -> bytes:
    """Returns a picture as a WebP file, with its longer side at most `largest` pixels.

    It is lossless if `exact` (masks), else of a quality from 0 to 100.
    """
    h, w = picture.shape[:2]
    scale = largest / max(h, w) if largest is not None else 1.0
    if scale < 1:
        size = (max(round(w * scale), 1), max(round(h * scale), 1))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    file, whole = io.BytesIO(), np.ascontiguousarray(picture)
    Image.fromarray(whole).save(file, format="WEBP", quality=quality, lossless=exact, method=4)
    return file.getvalue()
