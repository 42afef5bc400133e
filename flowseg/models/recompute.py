"""What the backward pass computes again instead of reading it back from memory."""

from collections.abc import Callable

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array


def save_activation(x: Array) -> Array:
    """Marks an activation to be saved inside `recompute`."""
    return checkpoint_name(x, "saved")


def recompute(function: Callable[..., Array]) -> Callable[..., Array]:
    """Returns the function with a backward pass that recomputes all but the activations marked by `save_activation`.

    Norms, activations and sums are quicker to recompute than to fetch from memory. At 320x320 this saves a quarter of
    the memory of a step and takes no more time (docs/performance.md).
    """
    return jax.checkpoint(function, policy=jax.checkpoint_policies.save_only_these_names("saved"))
