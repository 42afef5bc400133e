"""A gate that disables FiLM near the junctions of the predicted vessels.

Most of the false positives that FiLM added in the original experiment lay at vessel junctions. The gate is 0 there
and 1 elsewhere, and a stage computes x + gate (FiLM(x) - x).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Mask = Bool[Array, "b h w"]

# A round of thinning removes one pixel on every side, so this is enough for vessels 64 pixels wide.
_ROUNDS = 32


def _ring(mask: Mask) -> Bool[Array, "8 b h w"]:
    """Returns the eight neighbours of every pixel, clockwise from the one above; False outside the image."""
    padded = jnp.pad(mask, ((0, 0), (1, 1), (1, 1)))
    h, w = mask.shape[1:]
    offsets = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    return jnp.stack([padded[:, y : y + h, x : x + w] for y, x in offsets])


def _crossings(ring: Bool[Array, "8 b h w"]) -> Array:
    """Returns each pixel's crossing number: how often its ring changes from False to True (Rutovitz 1966)."""
    return jnp.sum(~ring & jnp.roll(ring, -1, axis=0), axis=0)


def thin(mask: Mask) -> Mask:
    """Returns the skeleton of a mask, one pixel wide (Zhang and Suen 1984, doi:10.1145/357994.358023)."""

    def peel(mask: Mask, first: bool) -> Mask:
        ring = _ring(mask)
        up, right, down, left = ring[0], ring[2], ring[4], ring[6]
        neighbours = jnp.sum(ring, axis=0)
        border = (neighbours >= 2) & (neighbours <= 6) & (_crossings(ring) == 1)
        if first:
            border &= ~(up & right & down) & ~(right & down & left)
        else:
            border &= ~(up & right & left) & ~(up & down & left)
        return mask & ~border

    def round_of(state: tuple[Mask, Array, Array]) -> tuple[Mask, Array, Array]:
        mask, _, count = state
        peeled = peel(peel(mask, True), False)
        return peeled, jnp.any(peeled != mask), count + 1

    def goes_on(state: tuple[Mask, Array, Array]) -> Array:
        return state[1] & (state[2] < _ROUNDS)

    return jax.lax.while_loop(goes_on, round_of, (mask, jnp.array(True), jnp.array(0)))[0]


def junctions(skeleton: Mask) -> Mask:
    """Returns the pixels of a skeleton where three or more branches meet (crossing number of at least 3).

    `flowseg.evaluation.topology.junctions` counts neighbours instead, and so finds the pixels beside these, too.
    """
    return skeleton & (_crossings(_ring(skeleton)) >= 3)


def junction_gate(estimate: Float[Array, "b h w 1"], radius: int) -> Float[Array, "b h w 1"]:
    """Returns 0 within `radius` pixels of a junction of the estimated mask, 1 elsewhere.

    Args:
        estimate: the mask is where it exceeds 0. It receives no gradient.
        radius: in pixels of the map, at least 1.
    """
    found = junctions(thin(jax.lax.stop_gradient(estimate)[..., 0] > 0))
    axis = jnp.arange(-radius, radius + 1)
    disc = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(jnp.float32)[..., None, None]
    near = jax.lax.conv_general_dilated(
        found[..., None].astype(jnp.float32), disc, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return (near < 0.5).astype(jnp.float32)


def at_stage(gate: Float[Array, "b h w 1"], factor: int) -> Float[Array, "b h/f w/f 1"]:
    """Returns the gate for a map that is `factor` times smaller: 0 where any of a pixel's pixels is 0."""
    window = (1, factor, factor, 1)
    return jax.lax.reduce_window(gate, jnp.inf, jax.lax.min, window, window, "VALID")
