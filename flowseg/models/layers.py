"""Convolutions, norms and the ResNet block.

Maps are (batch, height, width, channels). Parameters are float32, and norms are computed in it. A 1x1 convolution is
written as a dense layer on the channel axis, which is the same and faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models.group_norm import NORM_EPSILON, GroupNorm
from flowseg.models.kernels import Kernels
from flowseg.models.parameters import ones, parameter, uniform_fan_in, zeros
from flowseg.models.recompute import recompute, save_activation


@dataclass(frozen=True)
class Compute:
    """How modules compute: their kernels, and the dtype of convolutions and products."""

    kernels: Kernels
    dtype: DTypeLike


@jax.custom_vjp
def plus_bias(out: Float[Array, "... d"], bias: Float[Array, " d"]) -> Float[Array, "... d"]:
    """Adds a bias. Its gradient, a sum over all positions, is taken in float32, whatever `out` is."""
    return out + bias.astype(out.dtype)


def _plus_bias(out: Array, bias: Array) -> tuple[Array, None]:
    return plus_bias(out, bias), None


def _of_plus_bias(_: None, cotangent: Array) -> tuple[Array, Array]:
    cotangent = jax.lax.optimization_barrier(cotangent)  # otherwise XLA also writes bf16 maps in float32
    return cotangent, jnp.sum(cotangent, tuple(range(cotangent.ndim - 1)), jnp.float32)


plus_bias.defvjp(_plus_bias, _of_plus_bias)


def _convolve(compute: Compute, x: Array, kernel: Array, edge: int) -> Array:
    """A convolution of stride 1 with `edge` zeros around; its output is saved for the backward pass."""
    x, kernel = x.astype(compute.dtype), kernel.astype(compute.dtype)
    return save_activation(compute.kernels.convolve(x, kernel, edge))


class Conv(nnx.Module):
    """A convolution of stride 1 and odd size, which keeps the height and width of the map."""

    def __init__(self, d_in: int, d_out: int, size: int, compute: Compute):
        self.kernel = parameter(uniform_fan_in, size, size, d_in, d_out)
        self.bias = parameter(zeros, d_out)
        self.compute = compute

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        return plus_bias(self.without_bias(x), self.bias[...])

    def without_bias(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """The convolution alone, for a GroupNorm that adds the bias itself."""
        return _convolve(self.compute, x, self.kernel[...], self.kernel.shape[0] // 2)


class Dense(nnx.Module):
    """A dense layer on the last axis. With `zero` its kernel starts at zero."""

    def __init__(self, d_in: int, d_out: int, compute: Compute, *, bias: bool = True, zero: bool = False):
        self.kernel = parameter(zeros if zero else uniform_fan_in, d_in, d_out)
        self.bias = parameter(zeros, d_out) if bias else None
        self.compute = compute

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... d"]:
        out = x.astype(self.compute.dtype) @ self.kernel[...].astype(self.compute.dtype)
        return out if self.bias is None else plus_bias(out, self.bias[...])


class ChannelNorm(nnx.Module):
    """LayerNorm over the channels of each position, with a gain and optionally a bias."""

    def __init__(self, width: int, *, bias: bool = False):
        self.gain = parameter(ones, width)
        self.bias = parameter(zeros, width) if bias else None

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        h = _over_channels(x).astype(jnp.float32) * self.gain[...]
        if self.bias is not None:
            h = h + self.bias[...]
        return h.astype(x.dtype)

    def before_gain(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """The norm without its gain, for products with `with_gain(kernel)`.

        The gain's gradient is then computed from the kernel's, and not in another pass over the map.
        """
        assert self.bias is None, "a bias cannot be put into a kernel"
        return _over_channels(x)

    def with_gain(self, kernel: Float[Array, "c k"]) -> Float[Array, "c k"]:
        """Returns the kernel with the gain in it: before_gain(x) @ with_gain(kernel) is self(x) @ kernel."""
        return (self.gain[...][:, None] * kernel).astype(kernel.dtype)


@jax.custom_vjp
def _over_channels(x: Float[Array, "... c"]) -> Float[Array, "... c"]:
    """The norm in the dtype of x. Its gradient is computed from the output, so that x need not be kept."""
    return _forward(x)[0]


def _forward(x: Float[Array, "... c"]) -> tuple[Float[Array, "... c"], tuple[Array, Array]]:
    h = x.astype(jnp.float32)
    h = h - jnp.mean(h, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + NORM_EPSILON)
    out = (h * inverse).astype(x.dtype)
    return out, (out, inverse)


def _backward(saved: tuple[Array, Array], g: Float[Array, "... c"]) -> tuple[Float[Array, "... c"]]:
    normed, inverse = saved[0].astype(jnp.float32), saved[1]
    h = g.astype(jnp.float32)
    slope = jnp.mean(h * normed, axis=-1, keepdims=True)
    return ((inverse * (h - jnp.mean(h, axis=-1, keepdims=True) - normed * slope)).astype(g.dtype),)


_over_channels.defvjp(_forward, _backward)


class Downsample(nnx.Module):
    """A 4x4 convolution of stride 2 and padding 1, computed as space-to-depth and a 2x2 convolution.

    XLA computes the gradients of strided convolutions slowly on CPUs.
    """

    def __init__(self, d_in: int, d_out: int, compute: Compute):
        self.kernel = parameter(uniform_fan_in, 4, 4, d_in, d_out)
        self.bias = parameter(zeros, d_out)
        self.compute = compute

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 d"]:
        return recompute(self._plain)(x)

    def _plain(self, x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
        kernel = self.kernel[...].reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, -1)
        return plus_bias(_convolve(self.compute, x, kernel, 0), self.bias[...])


class Upsample(nnx.Module):
    """Doubles the map by nearest neighbours, then applies a 3x3 convolution."""

    def __init__(self, d_in: int, d_out: int, compute: Compute):
        self.conv = Conv(d_in, d_out, 3, compute)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2h 2w d"]:
        return recompute(self._plain)(x)

    def _plain(self, x: Array) -> Array:
        b, h, w, c = x.shape
        x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
        return self.conv(x)


Modulations = dict["ResnetBlock", tuple[Float[Array, "b c"], Float[Array, "b c"]]]
"""The scale and shift that the time gives each ResNet block."""


class ResnetBlock(nnx.Module):
    """conv, norm, [scale and shift by time], SiLU; conv, norm, SiLU; plus the input.

    With a skip, the input is the channels of x followed by those of the skip.
    """

    def __init__(self, d_in: int, d_out: int, d_time: int | None, compute: Compute):
        self.time = Dense(d_time, 2 * d_out, compute) if d_time is not None else None
        self.conv1 = Conv(d_in, d_out, 3, compute)
        self.norm1 = GroupNorm(d_out)
        self.conv2 = Conv(d_out, d_out, 3, compute)
        self.norm2 = GroupNorm(d_out)
        self.residual = Dense(d_in, d_out, compute) if d_in != d_out else None

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        times: Modulations,
        skip: Float[Array, "b h w s"] | None = None,
    ) -> Float[Array, "b h w d"]:
        return recompute(self.plain)(x, *times[self], skip)

    def plain(
        self, x: Array, scale: Array | None = None, shift: Array | None = None, skip: Array | None = None
    ) -> Array:
        """The same without `recompute`, for use inside a larger function that has it."""
        if skip is not None:
            x = jnp.concatenate([x, skip], axis=-1)
        h = self.norm1(self.conv1.without_bias(x), self.conv1.bias[...], scale, shift)
        h = self.norm2(self.conv2.without_bias(jax.nn.silu(h)), self.conv2.bias[...])
        return jax.nn.silu(h) + (self.residual(x) if self.residual is not None else x)


def modulations(network: nnx.Module, time: Float[Array, "b e"]) -> Modulations:
    """Returns scale and shift of every ResNet block in a network that has a projection of the time.

    All projections are one product: some thirty of a few kilobytes would take a GPU longer to start than to compute.
    """
    found = [block for _, block in nnx.iter_graph(network) if isinstance(block, ResnetBlock)]
    layers = {block: block.time for block in found if block.time is not None}
    outputs = _together(list(layers.values()), jax.nn.silu(time))
    halves = (jnp.split(out, 2, axis=-1) for out in outputs)
    return {block: (scale, shift) for block, (scale, shift) in zip(layers, halves, strict=True)}


def _together(layers: Sequence[Dense], x: Float[Array, "b c"]) -> Sequence[Array]:
    """Returns the outputs of several layers, computed by one product."""
    dtype = layers[0].compute.dtype
    kernel = jnp.concatenate([layer.kernel[...].astype(dtype) for layer in layers], axis=1)
    bias = jnp.concatenate([layer.bias[...] for layer in layers if layer.bias is not None])
    return jax.lax.split(
        plus_bias(x.astype(dtype) @ kernel, bias), [layer.kernel.shape[1] for layer in layers], axis=1
    )


class TimeEmbedding(nnx.Module):
    """Sinusoidal features of 1000 t, then two dense layers with an exact GELU between them."""

    def __init__(self, dim: int, compute: Compute):
        self.dim = dim
        self.dense1 = Dense(dim, 4 * dim, compute)
        self.dense2 = Dense(4 * dim, 4 * dim, compute)

    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b e"]:
        half = self.dim // 2
        frequencies = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
        phase = 1000.0 * t.astype(jnp.float32)[:, None] * frequencies
        features = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
        return self.dense2(jax.nn.gelu(self.dense1(features), approximate=False))
