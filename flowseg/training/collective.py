"""Loss and gradient averaged over devices, to the same bits however the devices are spread over processes."""

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg import hosts


def mean_over(
    axis: str, loss: Float[Array, ""], gradient: Float[Array, " p"]
) -> tuple[Float[Array, ""], Float[Array, " p"]]:
    """Returns the means of loss and gradient over the devices of a mapped axis.

    Within one process `jax.lax.pmean` adds in the order of the devices, on CPUs at least. Between processes it adds in
    another, and the optimiser amplifies the difference. There each device adds up one part of the vector instead, in
    the order of the devices, and all exchange their results. A device sends as many bytes as in a ring all-reduce.
    """
    if hosts.count() == 1:
        return jax.lax.pmean((loss, gradient), axis)
    devices = jax.lax.axis_size(axis)
    size = gradient.size
    vector = jnp.concatenate([gradient, loss[None], jnp.zeros(-(size + 1) % devices, gradient.dtype)])
    parts = jax.lax.all_to_all(vector.reshape(devices, -1), axis, split_axis=0, concat_axis=0)
    mean = jax.lax.all_gather(reduce(jnp.add, list(parts)) / devices, axis, tiled=True)
    return mean[size], mean[:size]
