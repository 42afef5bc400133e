"""The eight views of a square: its flips and quarter turns (the dihedral group), made and undone within a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

VIEWS = 8
"""View 0 is the square as it is."""

Batch = Shaped[Array, "b n n c"]


def _where(bit: int, views: Int[Array, " b"], changed: Batch, x: Batch) -> Batch:
    return jnp.where((views >> bit & 1).astype(bool)[:, None, None, None], changed, x)


def make_view(x: Batch, views: Int[Array, " b"]) -> Batch:
    """Each map of a batch in its view 0 to 7: transposed (bit 0), then flipped down (bit 1) and across (bit 2)."""
    x = _where(0, views, jnp.swapaxes(x, 1, 2), x)
    x = _where(1, views, x[:, ::-1], x)
    return _where(2, views, x[:, :, ::-1], x)


def undo_view(x: Batch, views: Int[Array, " b"]) -> Batch:
    """The inverse of `make_view`."""
    x = _where(2, views, x[:, :, ::-1], x)
    x = _where(1, views, x[:, ::-1], x)
    return _where(0, views, jnp.swapaxes(x, 1, 2), x)
