"""Probability paths from noise (t = 0) to the mask (t = 1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def gaussian_path(
    key: PRNGKeyArray, x1: Float[Array, "h w 1"], sigma: float, time_power: float = 1.0
) -> tuple[Float[Array, "h w 1"], Float[Array, ""], Float[Array, "h w 1"]]:
    """One draw of the conditional path of one example (Tong et al. 2023, with a Brownian-bridge width).

    x_t = (1 - t) x0 + t x1 + sigma sqrt(t (1 - t) + 1e-8) e, with x0 and e standard normal and t = r^time_power for
    r uniform on [0, 1]; sigma = 0 is the straight path of rectified flow (Lipman et al. 2023).

    Returns:
        x_t, t, and the velocity u = x1 - x0 that the network is to predict there.
    """
    key_t, key_x0, key_e = jax.random.split(key, 3)
    t = jax.random.uniform(key_t) ** time_power
    x0 = jax.random.normal(key_x0, x1.shape)
    x_t = (1 - t) * x0 + t * x1
    if sigma > 0:
        x_t = x_t + sigma * jnp.sqrt(t * (1 - t) + 1e-8) * jax.random.normal(key_e, x1.shape)
    return x_t, t, x1 - x0


def estimate_of(velocity: Float[Array, "b h w 1"], x: Float[Array, "b h w 1"], t: Float[Array, " b"]) -> Array:
    """The mask that a velocity at (x_t, t) leads to in a straight line."""
    return x + (1 - t)[:, None, None, None] * velocity
