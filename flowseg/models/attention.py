"""Attention over the positions of a map: full, linear, and across two maps.

Each takes its own channel norm and one bias-free projection to queries, keys and values of heads x head_dim.
The residual is added by the caller.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models import blockwise
from flowseg.models.layers import ChannelNorm, dense

# Rows of the attention matrix held at once: 6400 positions would need a matrix of 6400 x 6400 per head.
QUERY_BLOCK = 1024


def _heads(x: Float[Array, "b n c"], heads: int) -> Float[Array, "b n h d"]:
    return x.reshape(*x.shape[:2], heads, -1)


def _each_image(function: Callable[..., Array], *arrays: Array) -> Array:
    """`function` of one image, over a batch, one after the other."""
    if arrays[0].shape[0] == 1:
        return function(*(a[0] for a in arrays))[None]
    return jax.lax.map(lambda parts: function(*parts), arrays)


def softmax_attention(
    q: Float[Array, "b n h d"], k: Float[Array, "b m h d"], v: Float[Array, "b m h d"]
) -> Float[Array, "b n h d"]:
    """softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017), by blocks of queries where there are many.

    A block's weights are computed again in the backward pass, so memory grows with n, not with n^2. In half
    precision on a GPU it is cuDNN's flash kernel.
    """
    if q.dtype == jnp.bfloat16 and jax.default_backend() == "gpu":
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    n = q.shape[1]
    if n <= QUERY_BLOCK:
        return jax.nn.dot_product_attention(q, k, v)
    blocks = -(-n // QUERY_BLOCK)
    padded = jnp.pad(q, ((0, 0), (0, blocks * QUERY_BLOCK - n), (0, 0), (0, 0)))
    padded = padded.reshape(q.shape[0], blocks, QUERY_BLOCK, *q.shape[2:]).swapaxes(0, 1)
    out = jax.lax.map(jax.checkpoint(lambda block: jax.nn.dot_product_attention(block, k, v)), padded)
    return out.swapaxes(0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, :n]


def linear_attention(
    q: Float[Array, "b n h d"], k: Float[Array, "b n h d"], v: Float[Array, "b n h d"]
) -> Float[Array, "b n h d"]:
    """Linear-cost attention (Shen et al. 2021): q is softmaxed over features, k over positions."""
    scale = q.shape[-1] ** -0.5
    q = jax.nn.softmax(q.astype(jnp.float32), axis=-1).astype(v.dtype) * scale
    k = jax.nn.softmax(k.astype(jnp.float32), axis=1).astype(v.dtype)
    context = jnp.einsum("bnhd,bnhe->bhde", k, v)
    return jnp.einsum("bnhd,bhde->bnhe", q, context)


class FullAttention(nnx.Module):
    """Softmax attention of every position to every position."""

    def __init__(self, width: int, heads: int, head_dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        inner = heads * head_dim
        self.heads = heads
        self.norm = ChannelNorm(width)
        self.qkv = dense(width, 3 * inner, bias=False, dtype=dtype, rngs=rngs)
        self.out = dense(inner, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        tokens = self.norm(x).reshape(b, h * w, c)
        kernel = self.qkv.kernel[...].astype(self.qkv.dtype)
        inner = self.out.in_features
        read = _attend(tokens, tokens, kernel[:, :inner], kernel[:, inner:], self.heads)
        return self.out(read.reshape(b, h, w, -1))


def _attend(
    queries_of: Float[Array, "b n c"],
    keys_of: Float[Array, "b n c"],
    q_kernel: Float[Array, "c k"],
    kv_kernel: Float[Array, "c 2k"],
    heads: int,
) -> Float[Array, "b n k"]:
    """Projections and softmax attention between two sets of positions."""
    b, n, _ = queries_of.shape
    if not blockwise.pays(4 * b * heads * n * keys_of.shape[1]):
        k, v = jnp.split(keys_of @ kv_kernel, 2, axis=-1)
        parts = (_heads(part, heads) for part in (queries_of @ q_kernel, k, v))
        return softmax_attention(*parts).reshape(b, n, -1)

    def image(queries_of: Float[Array, "n c"], keys_of: Float[Array, "n c"]) -> Float[Array, "n k"]:
        q = blockwise.features_first(q_kernel, queries_of.T).reshape(heads, -1, n)
        k, v = blockwise.features_first(kv_kernel, keys_of.T).reshape(2, heads, -1, keys_of.shape[0])
        return blockwise.softmax_attention(q, k, v).reshape(-1, n).T

    return _each_image(image, queries_of, keys_of)


class LinearAttention(nnx.Module):
    """Linear attention, for the finest maps; a gain-only norm follows the output projection."""

    def __init__(self, width: int, heads: int, head_dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.inner = heads * head_dim
        self.heads = heads
        self.norm = ChannelNorm(width)
        self.qkv = dense(width, 3 * self.inner, bias=False, dtype=dtype, rngs=rngs)
        self.out = dense(self.inner, width, dtype=dtype, rngs=rngs)
        self.out_norm = ChannelNorm(width)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        tokens = x.reshape(b, h * w, c)
        if blockwise.pays(4 * b * h * w * 3 * self.inner):
            return _each_image(self._image, tokens).reshape(x.shape)
        parts = jnp.split(self.qkv(self.norm(tokens)), 3, axis=-1)
        q, k, v = (_heads(part, self.heads) for part in parts)
        return self.out_norm(self.out(linear_attention(q, k, v).reshape(b, h, w, -1)))

    def _image(self, x: Float[Array, "n c"]) -> Float[Array, "n c"]:
        kernel = self.qkv.kernel[...].astype(self.qkv.dtype)
        q_kernel, kv_kernel = kernel[:, : self.inner], kernel[:, self.inner :]
        assert self.out.bias is not None
        out_kernel, bias = self.out.kernel[...].astype(x.dtype), self.out.bias[...].astype(x.dtype)[:, None]

        def queries(part: Array) -> Array:
            q = blockwise.features_first(q_kernel, self.norm(part, axis=0))
            return q.reshape(self.heads, -1, part.shape[1])

        def keys_values(part: Array) -> tuple[Array, Array]:
            kv = blockwise.features_first(kv_kernel, self.norm(part, axis=0))
            k, v = kv.reshape(2, self.heads, -1, part.shape[1])
            return k, v

        def output(read: Array) -> Array:
            mixed = blockwise.features_first(out_kernel, read.reshape(self.inner, -1)) + bias
            return self.out_norm(mixed, axis=0)

        return blockwise.linear_attention(x, queries, keys_values, output, self.inner)


class CrossAttention(nnx.Module):
    """Queries from c, keys and values from x.

    Each side owns a whole q-k-v projection, as in the original; only the halves that are used are computed.
    """

    def __init__(self, width: int, heads: int, head_dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.inner = heads * head_dim
        self.heads = heads
        self.dtype = dtype
        self.norm_x = ChannelNorm(width)
        self.norm_c = ChannelNorm(width)
        self.qkv_x = dense(width, 3 * self.inner, bias=False, dtype=dtype, rngs=rngs)
        self.qkv_c = dense(width, 3 * self.inner, bias=False, dtype=dtype, rngs=rngs)
        self.out = dense(self.inner, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"], c: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, d = x.shape
        q_kernel = self.qkv_c.kernel[:, : self.inner].astype(self.dtype)
        kv_kernel = self.qkv_x.kernel[:, self.inner :].astype(self.dtype)
        queries_of, keys_of = self.norm_c(c).reshape(b, h * w, d), self.norm_x(x).reshape(b, h * w, d)
        return self.out(_attend(queries_of, keys_of, q_kernel, kv_kernel, self.heads).reshape(b, h, w, -1))
