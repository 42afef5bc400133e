"""Attention over the positions of a map: full, linear, and across two maps.

Each takes its own channel norm and one bias-free projection to queries, keys and values of heads x head_dim.
The residual is added by the caller.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models.kernels import Kernels
from flowseg.models.layers import ChannelNorm, Dense


class FullAttention(nnx.Module):
    """Softmax attention of every position to every position."""

    def __init__(self, width: int, heads: int, head_dim: int, *, kernels: Kernels, dtype: DTypeLike):
        inner = heads * head_dim
        self.heads = heads
        self.kernels = kernels
        self.norm = ChannelNorm(width)
        self.qkv = Dense(width, 3 * inner, bias=False, dtype=dtype)
        self.out = Dense(inner, width, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        tokens = self.norm(x).reshape(b, h * w, c)
        kernel = self.qkv.kernel[...].astype(self.qkv.dtype)
        inner = self.out.kernel.shape[0]
        read = self.kernels.attend(tokens, tokens, kernel[:, :inner], kernel[:, inner:], self.heads)
        return self.out(read.reshape(b, h, w, -1))


class LinearAttention(nnx.Module):
    """Linear attention, for the finest maps; a gain-only norm follows the output projection."""

    def __init__(self, width: int, heads: int, head_dim: int, *, kernels: Kernels, dtype: DTypeLike):
        self.inner = heads * head_dim
        self.heads = heads
        self.kernels = kernels
        self.norm = ChannelNorm(width)
        self.qkv = Dense(width, 3 * self.inner, bias=False, dtype=dtype)
        self.out = Dense(self.inner, width, dtype=dtype)
        self.out_norm = ChannelNorm(width)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        heads, tokens = self.heads, x.reshape(b, h * w, c)
        assert self.out.bias is not None
        bias = self.out.bias[...]
        q_kernel, k_kernel, v_kernel = jnp.split(self.qkv.kernel[...], 3, axis=1)

        def keys_values(x: Float[Array, "*b r c"]) -> tuple[Float[Array, "*b r k"], Float[Array, "*b r c"]]:
            x = self.norm(x)
            return x @ k_kernel.astype(x.dtype), x

        # Both products by a kernel of the formula are taken out of its sums over positions: softmax(k)^T (y W_v) is
        # (softmax(k)^T y) W_v, and (softmax(q) context) W_out is softmax(q) (context W_out). So neither the values
        # nor what is read by the queries, each of heads x head_dim channels, is ever made.
        pooled = self.kernels.softmax_pool(keys_values, tokens).reshape(b, heads, -1, c)
        context = jnp.einsum("bhdc,che->bhde", pooled, v_kernel.reshape(c, heads, -1))
        table = jnp.einsum("bhde,heo->bhdo", context, self.out.kernel[...].reshape(heads, -1, c))
        table = table.reshape(b, -1, c) * context.shape[-1] ** -0.5

        def read(x: Float[Array, "*b r c"], table: Float[Array, "*b k c"]) -> Float[Array, "*b r c"]:
            q = self.norm(x) @ q_kernel.astype(x.dtype)
            weights = jax.nn.softmax(q.reshape(*q.shape[:-1], heads, -1).astype(jnp.float32), axis=-1)
            mixed = weights.reshape(q.shape).astype(x.dtype) @ table.astype(x.dtype)
            return self.out_norm(mixed + bias.astype(x.dtype))

        return self.kernels.map_positions(read, tokens, table).reshape(x.shape)


class CrossAttention(nnx.Module):
    """Queries from c, keys and values from x.

    Each side owns a whole q-k-v projection, as in the original; only the halves that are used are computed.
    """

    def __init__(self, width: int, heads: int, head_dim: int, *, kernels: Kernels, dtype: DTypeLike):
        self.inner = heads * head_dim
        self.heads = heads
        self.dtype = dtype
        self.kernels = kernels
        self.norm_x = ChannelNorm(width)
        self.norm_c = ChannelNorm(width)
        self.qkv_x = Dense(width, 3 * self.inner, bias=False, dtype=dtype)
        self.qkv_c = Dense(width, 3 * self.inner, bias=False, dtype=dtype)
        self.out = Dense(self.inner, width, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c"], c: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, d = x.shape
        q_kernel = self.qkv_c.kernel[:, : self.inner].astype(self.dtype)
        kv_kernel = self.qkv_x.kernel[:, self.inner :].astype(self.dtype)
        queries_of, keys_of = self.norm_c(c).reshape(b, h * w, d), self.norm_x(x).reshape(b, h * w, d)
        return self.out(self.kernels.attend(queries_of, keys_of, q_kernel, kv_kernel, self.heads).reshape(b, h, w, -1))
