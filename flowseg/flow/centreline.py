"""A loss on the centrelines of vessels, by which a thin or broken vessel counts as much as a wide one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.flow import Maps

ITERATIONS = 6
"""Rounds of erosion. Vessels of up to twice as many pixels are thinned to lines, wider ones keep a core."""
_SMOOTH = 1.0  # pixels, in numerator and denominator: an image without vessels has no centreline


def _of_three(pick: Callable[[Array, Array], Array], x: Maps, axis: int, beyond: float) -> Maps:
    """Returns at each pixel what `pick` makes of it and its two neighbours along an axis.

    The gradient of a pooling would do the same, but is slow on CPUs.
    """
    margins = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
    wide = jnp.pad(x, margins, constant_values=beyond)
    before, after = (jax.lax.slice_in_dim(wide, i, i + x.shape[axis], axis=axis) for i in (0, 2))
    return pick(pick(before, x), after)


def _eroded(p: Maps) -> Maps:
    """Returns the smallest value of each pixel and its four neighbours."""
    return jnp.minimum(*(_of_three(jnp.minimum, p, axis, 1.0) for axis in (1, 2)))


def _ridges(p: Maps) -> Maps:
    """Returns what an erosion and a dilation by 3x3 pixels take away."""
    opened = _of_three(jnp.maximum, _of_three(jnp.maximum, _eroded(p), 1, 0.0), 2, 0.0)
    return jnp.maximum(p - opened, 0)


def soft_skeleton(p: Maps) -> Maps:
    """Returns the soft skeleton of maps in [0, 1], in [0, 1] (Shit et al., clDice, CVPR 2021, algorithm 1)."""
    skeleton = _ridges(p)
    for _ in range(ITERATIONS):
        p = _eroded(p)
        ridges = _ridges(p)
        skeleton = skeleton + jnp.maximum(ridges - skeleton * ridges, 0)
    return skeleton


def cldice_loss(p: Maps, x1: Maps) -> Float[Array, ""]:
    """Returns 1 - soft clDice of each image, averaged over the batch (Shit et al. 2021, algorithm 2).

    Args:
        p: vessel probabilities.
        x1: the mask, or the share of each pixel that is vessel.
    """

    def share(part: Maps, skeleton: Maps) -> Float[Array, " b"]:
        """How much of a skeleton lies in the other mask."""
        return (jnp.sum(part * skeleton, (1, 2, 3)) + _SMOOTH) / (jnp.sum(skeleton, (1, 2, 3)) + _SMOOTH)

    precision, recall = share(x1, soft_skeleton(p)), share(p, soft_skeleton(x1))
    return jnp.mean(1 - 2 * precision * recall / (precision + recall))
