"""Losses of flow matching."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def velocity_loss(v: Float[Array, "b h w 1"], u: Float[Array, "b h w 1"]) -> Float[Array, ""]:
    """Mean squared error of the velocity over batch and pixels (Lipman et al. 2023, eq. 9)."""
    return jnp.mean(jnp.square(v - u))
