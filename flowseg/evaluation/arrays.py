"""The arrays that metrics and pictures are made from, and the checks of their form."""

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

Mask = Bool[np.ndarray, "H W"]
Probability = Float[np.ndarray, "H W"]
Grey = UInt8[np.ndarray, "H W"]


def pixels_inside(array: Shaped[np.ndarray, "H W"], fov: Mask | None) -> Shaped[np.ndarray, "..."]:
    """Returns the pixels inside a field of view as one row, an array of shape (1, n); the whole array without one."""
    return array if fov is None else array[fov][None]


def check_masks(shape: tuple[int, ...], **masks: np.ndarray) -> None:
    """Raises a ValueError with the name of a mask that is not bool of two dimensions, or not of this shape."""
    for name, mask in masks.items():
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ValueError(f"{name} must be a bool mask of two dimensions, got {mask.dtype} {mask.shape}")
        if mask.shape != shape:
            raise ValueError(f"shapes differ: {name} has {mask.shape}, expected {shape}")


def check_grey(image: np.ndarray) -> None:
    """Raises a ValueError if an image is not uint8 of two dimensions, or has no pixels."""
    if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image must be uint8 of two dimensions, not empty, got {image.dtype} {image.shape}")
