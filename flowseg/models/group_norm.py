"""GroupNorm with the scale and shift that follow it, in as few passes over the map as it takes."""

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

    def __call__(self, x: Map, scale: PerChannel | None = None, shift: PerChannel | None = None) -> Map:
        """Returns the normed map, times 1 + `scale` plus `shift` where these are given."""
        gain, bias = (jnp.broadcast_to(part[...], (len(x), x.shape[-1])) for part in (self.gain, self.bias))
        if scale is not None and shift is not None:
            factor = 1 + scale.astype(jnp.float32)
            gain, bias = gain * factor, bias * factor + shift.astype(jnp.float32)
        return _normalise(x, gain, bias)


def _over_groups(x: PerChannel) -> PerChannel:
    """Returns the mean over the channels of a group, at each of its channels."""
    return _at_channels(x.reshape(len(x), GROUPS, -1).mean(-1), x.shape[1])


def _at_channels(x: Float[Array, "b g"], channels: int) -> PerChannel:
    """Returns the value of a group at each of its channels."""
    return jnp.broadcast_to(x[..., None], (*x.shape, channels // GROUPS)).reshape(len(x), channels)


def _moments(x: Map) -> tuple[PerChannel, PerChannel]:
    """Returns the mean of each channel's group and 1 / its standard deviation, from one pass over the map.

    Sums of squares lose the variance of a map whose mean is large beside it. They are taken relative to a value of the
    group, which is about as far from zero as the mean.
    """
    channels = x.shape[-1]
    some = _at_channels(x[:, 0, 0, :: channels // GROUPS].astype(jnp.float32), channels)
    h = x.astype(jnp.float32) - some[:, None, None]
    first, second = (_over_groups(jnp.mean(part, axis=(1, 2))) for part in (h, h * h))
    variance = jnp.maximum(second - first * first, 0.0)
    return some + first, jax.lax.rsqrt(variance + NORM_EPSILON)


@jax.custom_vjp
def _normalise(x: Map, gain: PerChannel, bias: PerChannel) -> Map:
    """Returns (x - mean) / standard deviation * gain + bias."""
    return _forward(x, gain, bias)[0]


def _forward(x: Map, gain: PerChannel, bias: PerChannel) -> tuple[Map, tuple[Array, ...]]:
    mean, inverse = (save_activation(part) for part in _moments(x))
    centred = x.astype(jnp.float32) - mean[:, None, None]
    out = centred * (inverse * gain)[:, None, None] + bias[:, None, None]
    return out.astype(x.dtype), (x, gain, mean, inverse)


def _backward(saved: tuple[Array, ...], g: Map) -> tuple[Map, PerChannel, PerChannel]:
    """Two sums over the map give the gradients of gain and bias; that of the map follows from them."""
    x, gain, mean, inverse = saved
    positions = x.shape[1] * x.shape[2]
    cotangent = g.astype(jnp.float32)
    normed = (x.astype(jnp.float32) - mean[:, None, None]) * inverse[:, None, None]
    by_bias, by_gain = jnp.sum(cotangent, axis=(1, 2)), jnp.sum(cotangent * normed, axis=(1, 2))
    constant, slope = (_over_groups(gain * part) / positions for part in (by_bias, by_gain))
    by_x = cotangent * gain[:, None, None] - constant[:, None, None] - normed * slope[:, None, None]
    return (by_x * inverse[:, None, None]).astype(x.dtype), by_gain, by_bias


_normalise.defvjp(_forward, _backward)
