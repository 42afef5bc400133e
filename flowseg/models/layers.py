"""Convolutions, norms and the ResNet block: what every part of the network is made of.

Maps are (batch, height, width, channels). Parameters and norms are float32; `dtype` is what convolutions
and products compute in. 1x1 convolutions are dense layers on the channel axis: the same thing, and faster.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models.kernels import Kernels
from flowseg.models.parameters import ones, parameter, uniform_fan_in, zeros
from flowseg.models.recompute import recompute, save_activation

NORM_EPSILON = 1e-5
GROUPS = 8


class Conv(nnx.Module):
    """A stride-1 convolution of odd size that keeps the map's height and width."""

    def __init__(self, d_in: int, d_out: int, size: int, *, kernels: Kernels, dtype: DTypeLike):
        self.kernel = parameter(uniform_fan_in, size, size, d_in, d_out)
        self.bias = parameter(zeros, d_out)
        self.kernels, self.dtype = kernels, dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        kernel = self.kernel[...].astype(self.dtype)
        out = save_activation(self.kernels.convolve(x.astype(self.dtype), kernel, kernel.shape[0] // 2))
        return out + self.bias[...].astype(self.dtype)


class Dense(nnx.Module):
    """A dense layer on the last axis; with `zero` it starts at zero."""

    def __init__(self, d_in: int, d_out: int, *, dtype: DTypeLike, bias: bool = True, zero: bool = False):
        self.kernel = parameter(zeros if zero else uniform_fan_in, d_in, d_out)
        self.bias = parameter(zeros, d_out) if bias else None
        self.dtype = dtype

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... d"]:
        out = x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        return out if self.bias is None else out + self.bias[...].astype(self.dtype)


class ChannelNorm(nnx.Module):
    """LayerNorm over the channels of each position, with gain and, if asked, bias; computed in float32."""

    def __init__(self, width: int, *, bias: bool = False):
        self.gain = parameter(ones, width)
        self.bias = parameter(zeros, width) if bias else None

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        h = x.astype(jnp.float32)
        h = h - jnp.mean(h, axis=-1, keepdims=True)
        h = h * jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + NORM_EPSILON) * self.gain[...]
        if self.bias is not None:
            h = h + self.bias[...]
        return h.astype(x.dtype)


class GroupNorm(nnx.Module):
    """GroupNorm over 8 groups of channels (Wu and He 2018), computed in float32."""

    def __init__(self, width: int):
        self.gain = parameter(ones, width)
        self.bias = parameter(zeros, width)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, _, _, c = x.shape
        h = x.astype(jnp.float32)
        # Positions first, then the few channels of a group: reducing (h, w, c/8) at once is slow on CPU.
        size = c // GROUPS
        mean = save_activation(jnp.mean(h, axis=(1, 2)).reshape(b, GROUPS, size).mean(-1))
        centred = h - jnp.repeat(mean, size, axis=1)[:, None, None]
        variance = save_activation(jnp.mean(centred * centred, axis=(1, 2)).reshape(b, GROUPS, size).mean(-1))
        scale = jnp.repeat(jax.lax.rsqrt(variance + NORM_EPSILON), size, axis=1) * self.gain[...]
        return (centred * scale[:, None, None] + self.bias[...]).astype(x.dtype)


class Downsample(nnx.Module):
    """4x4 convolution of stride 2 and padding 1, computed as space-to-depth and a 2x2 convolution.

    The same sums as the strided convolution, whose gradients XLA computes slowly on CPU.
    """

    def __init__(self, d_in: int, d_out: int, *, kernels: Kernels, dtype: DTypeLike):
        self.kernel = parameter(uniform_fan_in, 4, 4, d_in, d_out)
        self.bias = parameter(zeros, d_out)
        self.kernels, self.dtype = kernels, dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 d"]:
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)
        kernel = self.kernel[...].astype(self.dtype)
        kernel = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, -1)
        return save_activation(self.kernels.convolve(x, kernel, 0)) + self.bias[...].astype(self.dtype)


class Upsample(nnx.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution."""

    def __init__(self, d_in: int, d_out: int, *, kernels: Kernels, dtype: DTypeLike):
        self.conv = Conv(d_in, d_out, 3, kernels=kernels, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2h 2w d"]:
        b, h, w, c = x.shape
        x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
        return self.conv(x)


class ResnetBlock(nnx.Module):
    """conv, norm, [scale and shift by time], SiLU; conv, norm, SiLU; plus the input (network.md).

    Its input may come in two parts, as channels of x followed by channels of a skip.
    """

    def __init__(self, d_in: int, d_out: int, d_time: int | None, *, kernels: Kernels, dtype: DTypeLike):
        self.time = Dense(d_time, 2 * d_out, dtype=dtype) if d_time is not None else None
        self.conv1 = Conv(d_in, d_out, 3, kernels=kernels, dtype=dtype)
        self.norm1 = GroupNorm(d_out)
        self.conv2 = Conv(d_out, d_out, 3, kernels=kernels, dtype=dtype)
        self.norm2 = GroupNorm(d_out)
        self.residual = Dense(d_in, d_out, dtype=dtype) if d_in != d_out else None

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, "b e"] | None = None,
        skip: Float[Array, "b h w s"] | None = None,
    ) -> Float[Array, "b h w d"]:
        return recompute(self.plain)(x, time, skip)

    def plain(self, x: Array, time: Array | None = None, skip: Array | None = None) -> Array:
        """The same, to be part of a larger function under `recompute`."""
        if skip is not None:
            x = jnp.concatenate([x, skip], axis=-1)
        h = self.norm1(self.conv1(x))
        if self.time is not None and time is not None:
            scale, shift = jnp.split(self.time(jax.nn.silu(time))[:, None, None], 2, axis=-1)
            h = h * (scale + 1) + shift
        h = self.norm2(self.conv2(jax.nn.silu(h)))
        return jax.nn.silu(h) + (self.residual(x) if self.residual is not None else x)


class TimeEmbedding(nnx.Module):
    """Sinusoidal features of 1000 t, then two dense layers with exact GELU between."""

    def __init__(self, dim: int, *, dtype: DTypeLike):
        self.dim = dim
        self.dense1 = Dense(dim, 4 * dim, dtype=dtype)
        self.dense2 = Dense(4 * dim, 4 * dim, dtype=dtype)

    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b e"]:
        half = self.dim // 2
        frequencies = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
        phase = 1000.0 * t.astype(jnp.float32)[:, None] * frequencies
        features = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
        return self.dense2(jax.nn.gelu(self.dense1(features), approximate=False))
