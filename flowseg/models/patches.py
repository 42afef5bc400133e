"""Maps cut into patches: a position for each patch, a channel for each of its pixels (Shi et al. 2016, sub-pixel
convolution).

A network on patches of n x n pixels works on maps of 1/n of the height and width, at 1/n^2 of the cost, and still sees
and decides every pixel.
"""

from jaxtyping import Array, Float


def to_patches(x: Float[Array, "b h w 1"], n: int) -> Float[Array, "b h/n w/n n*n"]:
    """Returns a map as patches of n x n pixels; n divides height and width."""
    b, h, w, _ = x.shape
    return x.reshape(b, h // n, n, w // n, n).transpose(0, 1, 3, 2, 4).reshape(b, h // n, w // n, n * n)


def from_patches(x: Float[Array, "b h w n*n"], n: int) -> Float[Array, "b h*n w*n 1"]:
    """Returns the map of patches of n x n pixels."""
    b, h, w, _ = x.shape
    return x.reshape(b, h, w, n, n).transpose(0, 1, 3, 2, 4).reshape(b, h * n, w * n, 1)
