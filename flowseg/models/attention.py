"""Attention over the positions of a map: full, linear, and between two maps.

Each has its own channel norm and one projection without bias to queries, keys and values, heads x head_dim channels
each. The caller adds the residual.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from flowseg.models.layers import ChannelNorm, Compute, Dense, plus_bias
from flowseg.models.recompute import recompute


class FullAttention(nnx.Module):
    """Softmax attention of every position to every position."""

    def __init__(self, width: int, heads: int, head_dim: int, compute: Compute):
        inner = heads * head_dim
        self.heads = heads
        self.compute = compute
        self.norm = ChannelNorm(width)
        self.qkv = Dense(width, 3 * inner, compute, bias=False)
        self.out = Dense(inner, width, compute)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        tokens = self.norm.before_gain(x).reshape(b, h * w, c)
        kernel = self.norm.with_gain(self.qkv.kernel[...]).astype(self.compute.dtype)
        inner = self.out.kernel.shape[0]
        read = self.compute.kernels.attend(tokens, tokens, kernel[:, :inner], kernel[:, inner:], self.heads)
        return self.out(read.reshape(b, h, w, -1))


class LinearAttention(nnx.Module):
    """Linear attention (Shen et al. 2021): queries softmaxed over features, keys over positions.

    Its cost grows with the number of positions, not with its square. A channel norm follows the output projection.
    """

    def __init__(self, width: int, heads: int, head_dim: int, compute: Compute):
        self.inner = heads * head_dim
        self.heads = heads
        self.compute = compute
        self.norm = ChannelNorm(width)
        self.qkv = Dense(width, 3 * self.inner, compute, bias=False)
        self.out = Dense(self.inner, width, compute)
        self.out_norm = ChannelNorm(width)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        heads, tokens = self.heads, self.norm.before_gain(x).reshape(b, h * w, c)
        assert self.out.bias is not None
        bias = self.out.bias[...]
        q_kernel, k_kernel, v_kernel = jnp.split(self.norm.with_gain(self.qkv.kernel[...]), 3, axis=1)

        # With y the normed tokens, and the norm's gain in W_v: softmax(k)^T (y W_v) is computed as
        # (softmax(k)^T y) W_v, and (softmax(q) context) W_out as softmax(q) (context W_out). So two maps of
        # heads x head_dim channels are never made: the values, and what the queries read.
        pooled = self.compute.kernels.softmax_pool(tokens, k_kernel.astype(tokens.dtype)).reshape(b, heads, -1, c)
        context = jnp.einsum("bhdc,che->bhde", pooled, v_kernel.reshape(c, heads, -1))
        table = jnp.einsum("bhde,heo->bhdo", context, self.out.kernel[...].reshape(heads, -1, c))
        table = table.reshape(b, -1, c) * context.shape[-1] ** -0.5

        def read(y: Float[Array, "*b r c"], table: Float[Array, "*b k c"]) -> Float[Array, "*b r c"]:
            q = y @ q_kernel.astype(y.dtype)
            weights = _over_features(q.reshape(*q.shape[:-1], heads, -1))
            return weights.reshape(q.shape) @ table.astype(y.dtype)

        def normed(mixed: Float[Array, "b h w c"], bias: Float[Array, " c"]) -> Float[Array, "b h w c"]:
            return self.out_norm(plus_bias(mixed, bias))

        mixed = self.compute.kernels.map_positions(read, tokens, table).reshape(x.shape)
        return recompute(normed)(mixed, bias)


@jax.custom_vjp
def _over_features(q: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Returns the softmax over the last axis, in the dtype of q.

    Its gradient is computed from what it returns. Otherwise XLA would read the queries once more on a GPU.
    """
    return jax.nn.softmax(q.astype(jnp.float32), axis=-1).astype(q.dtype)


def _forward(q: Float[Array, "... d"]) -> tuple[Float[Array, "... d"], Float[Array, "... d"]]:
    weights = _over_features(q)
    return weights, weights


def _backward(weights: Float[Array, "... d"], g: Float[Array, "... d"]) -> tuple[Float[Array, "... d"]]:
    weights = weights.astype(jnp.float32)
    part = weights * g.astype(jnp.float32)
    return ((part - weights * jnp.sum(part, axis=-1, keepdims=True)).astype(g.dtype),)


_over_features.defvjp(_forward, _backward)


class CrossAttention(nnx.Module):
    """Softmax attention with queries from c, keys and values from x.

    Each side has a whole q-k-v projection, as in the original. Only the parts that are used are computed.
    """

    def __init__(self, width: int, heads: int, head_dim: int, compute: Compute):
        self.inner = heads * head_dim
        self.heads = heads
        self.compute = compute
        self.norm_x = ChannelNorm(width)
        self.norm_c = ChannelNorm(width)
        self.qkv_x = Dense(width, 3 * self.inner, compute, bias=False)
        self.qkv_c = Dense(width, 3 * self.inner, compute, bias=False)
        self.out = Dense(self.inner, width, compute)

    def __call__(self, x: Float[Array, "b h w c"], c: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, d = x.shape
        q_kernel = self.norm_c.with_gain(self.qkv_c.kernel[:, : self.inner]).astype(self.compute.dtype)
        kv_kernel = self.norm_x.with_gain(self.qkv_x.kernel[:, self.inner :]).astype(self.compute.dtype)
        queries_of = self.norm_c.before_gain(c).reshape(b, h * w, d)
        keys_of = self.norm_x.before_gain(x).reshape(b, h * w, d)
        return self.out(
            self.compute.kernels.attend(queries_of, keys_of, q_kernel, kv_kernel, self.heads).reshape(b, h, w, -1)
        )
