"""GroupNorm with the bias before it and the scale and shift after it, in as few passes over the map as it takes."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from flowseg.models.parameters import ones, parameter, zeros
from flowseg.models.recompute import save_activation

GROUPS = 8
NORM_EPSILON = 1e-5

Map = Float[Array, "b h w c"]
PerChannel = Float[Array, "b c"]


class GroupNorm(nnx.Module):
    """GroupNorm over 8 groups of channels (Wu and He 2018), in float32."""

    def __init__(self, width: int):
        self.gain = parameter(ones, width)
        self.bias = parameter(zeros, width)

    def __call__(
        self,
        x: Map,
        offset: Float[Array, " c"],
        scale: PerChannel | None = None,
        shift: PerChannel | None = None,
    ) -> Map:
        """Returns x + `offset` normed, times 1 + `scale` plus `shift` where these are given.

        `offset` is the bias of the convolution that made the map.
        """
        gain, bias = (jnp.broadcast_to(part[...], (len(x), x.shape[-1])) for part in (self.gain, self.bias))
        if scale is not None and shift is not None:
            factor = 1 + scale.astype(jnp.float32)
            gain, bias = gain * factor, bias * factor + shift.astype(jnp.float32)
        return _normalise(x, offset, gain, bias)


def _over_groups(x: PerChannel) -> PerChannel:
    """Returns the mean over the channels of a group, at each of its channels.

    By windows, which XLA computes inside the kernel that uses them, unlike a mean over an axis.
    """
    size = x.shape[1] // GROUPS
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, size), (1, size), "VALID")
    return _at_channels(sums / size, x.shape[1])


def _at_channels(x: Float[Array, "b g"], channels: int) -> PerChannel:
    """Returns the value of a group at each of its channels."""
    return jnp.broadcast_to(x[..., None], (*x.shape, channels // GROUPS)).reshape(len(x), channels)


def _moments(x: Map, offset: Float[Array, " c"]) -> tuple[PerChannel, PerChannel, PerChannel]:
    """Returns, of x + offset, each channel's mean less its group's, the group's mean, and 1 / its deviation.

    They come from one pass over the map. Sums of squares lose the variance of a map whose mean is large beside it.
    They are taken relative to a value of the group, which is about as far from zero as the mean.
    """
    channels = x.shape[-1]
    every = slice(None, None, channels // GROUPS)
    some = _at_channels(_plus(x[:, 0, 0, every], offset[every]), channels)
    h = _plus(x, offset) - some[:, None, None]
    first, second = (jnp.mean(part, axis=(1, 2)) for part in (h, h * h))
    mean = _over_groups(first)
    variance = jnp.maximum(_over_groups(second) - mean * mean, 0.0)
    return first - mean, some + mean, jax.lax.rsqrt(variance + NORM_EPSILON)


def _plus(x: Float[Array, "*b c"], offset: Float[Array, " c"]) -> Float[Array, "*b c"]:
    return x.astype(jnp.float32) + offset


@jax.custom_vjp
def _normalise(x: Map, offset: Float[Array, " c"], gain: PerChannel, bias: PerChannel) -> Map:
    """Returns (x + offset - mean) / standard deviation * gain + bias."""
    return _forward(x, offset, gain, bias)[0]


def _forward(x: Map, offset: Float[Array, " c"], gain: PerChannel, bias: PerChannel) -> tuple[Map, tuple[Array, ...]]:
    x = jax.lax.optimization_barrier(x)  # otherwise XLA makes bf16 convolutions write float32
    above, mean, inverse = (save_activation(part) for part in _moments(x, offset))
    factor, bias = save_activation(inverse * gain), save_activation(bias)
    out = (_plus(x, offset) - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]
    return out.astype(x.dtype), (x, offset, gain, above, mean, inverse)


def _backward(saved: tuple[Array, ...], g: Map) -> tuple[Map, Array, PerChannel, PerChannel]:
    """Two sums over the map give the gradients of gain and bias; the others follow from them.

    The offset's gradient is that of the map, summed over batch and positions. The sum of `normed` in it is known from
    the channel's mean, so it takes no pass of its own.
    """
    x, offset, gain, above, mean, inverse = saved
    positions = x.shape[1] * x.shape[2]
    cotangent = g.astype(jnp.float32)
    normed = (_plus(x, offset) - mean[:, None, None]) * inverse[:, None, None]
    sums = jnp.sum(cotangent, axis=(1, 2)), jnp.sum(cotangent * normed, axis=(1, 2))
    by_bias, by_gain = jax.lax.optimization_barrier(sums)  # otherwise XLA reads the maps again for the batch's sums
    constant, slope = (_over_groups(gain * part) / positions for part in (by_bias, by_gain))
    by_x = cotangent * gain[:, None, None] - constant[:, None, None] - normed * slope[:, None, None]
    by_offset = jnp.sum((gain * by_bias - positions * (constant + above * inverse * slope)) * inverse, axis=0)
    return (by_x * inverse[:, None, None]).astype(x.dtype), by_offset, by_gain, by_bias


_normalise.defvjp(_forward, _backward)
