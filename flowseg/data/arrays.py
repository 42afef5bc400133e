"""Images that are given as arrays: which are taken, and what grey values they have."""

import numpy as np
from jaxtyping import Bool, Num

from flowseg.config import Channel
from flowseg.data.image_files import CHANNELS, plain_type
from flowseg.errors import UserError

_LUMINANCE = (19595, 38470, 7471)
"""Weights of red, green and blue (ITU-R 601) in units of 2**-16, the numbers that Pillow uses."""


def grey_values(
    image: Num[np.ndarray, "h w"] | Num[np.ndarray, "h w 3"], name: str, channel: Channel = "luminance"
) -> Num[np.ndarray, "h w"]:
    """Returns the grey values of an image, as `decode` in image_files.py returns those of a file with them.

    uint8 and uint16 are kept, other whole numbers become uint8 or uint16, whichever fits, and everything else becomes
    float32. RGB becomes luminance (ITU-R 601), which is rounded for whole numbers, or one channel; uint16 keeps its 16
    bits, where Pillow reads a colour file with 8. `name` is the image's name in messages.

    Raises:
        UserError: not an array of numbers, another shape, no pixels, or values that are not finite in float32.
    """
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise UserError(f"{name}: is no NumPy array but {kind}; the model's `read` reads image files")
    if image.dtype.kind not in "uif":
        raise UserError(f"{name}: has the dtype {image.dtype}; give uint8, uint16 or floating-point numbers")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise UserError(f"{name}: has the shape {image.shape}; give a grey image (h, w) or RGB (h, w, 3)")
    with np.errstate(over="ignore"):  # what overflows float32 is refused below
        values = plain_type(image)
    is_uint16 = (image.dtype.kind, image.dtype.itemsize) == ("u", 2)
    if values.dtype == np.uint16 and not is_uint16 and values.max() < 2**8:
        values = values.astype(np.uint8)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{name}: has values that are not finite numbers in float32; replace them")
    if values.ndim == 2:
        return values
    return _luminance(values) if channel == "luminance" else values[..., CHANNELS.index(channel)]


def check_fov(fov: Bool[np.ndarray, "h w"], shape: tuple[int, ...]) -> None:
    """Raises a UserError unless a field of view is a boolean array of the image's height and width with some True."""
    if not isinstance(fov, np.ndarray) or fov.dtype != np.bool_ or fov.shape != shape:
        given = f"dtype {fov.dtype}, shape {fov.shape}" if isinstance(fov, np.ndarray) else type(fov).__name__
        raise UserError(f"the field of view: is {given}; give a boolean array of the image's shape {shape}")
    if not fov.any():
        raise UserError("the field of view: has no pixel inside; give one that is True inside, or None")


def _luminance(rgb: Num[np.ndarray, "h w 3"]) -> Num[np.ndarray, "h w"]:
    if rgb.dtype.kind == "f":
        return (rgb.astype(np.float64) @ np.asarray(_LUMINANCE) / 2**16).astype(np.float32)
    # 65535 * 2**16 + 2**15 still fits 32 bits.
    weighted = rgb.astype(np.uint32) @ np.asarray(_LUMINANCE, np.uint32)
    return ((weighted + 2**15) >> 16).astype(rgb.dtype)
