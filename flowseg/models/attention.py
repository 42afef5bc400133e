"""Attention over the positions of a map: full, linear, and across two maps.

Each takes its own channel norm and one bias-free projection to queries, keys and values of heads x head_dim.
The residual is added by the caller.
"""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models.kernels import Kernels
from flowseg.models.layers import ChannelNorm, dense


class FullAttention(nnx.Module):
    """Softmax attention of every position to every position."""

    def __init__(self, width: int, heads: int, head_dim: int, *, kernels: Kernels, dtype: DTypeLike, rngs: nnx.Rngs):
        inner = heads * head_dim
        self.heads = heads
        self.kernels = kernels
        self.norm = ChannelNorm(width)
        self.qkv = dense(width, 3 * inner, bias=False, dtype=dtype, rngs=rngs)
        self.out = dense(inner, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        tokens = self.norm(x).reshape(b, h * w, c)
        kernel = self.qkv.kernel[...].astype(self.qkv.dtype)
        inner = self.out.in_features
        read = self.kernels.attend(tokens, tokens, kernel[:, :inner], kernel[:, inner:], self.heads)
        return self.out(read.reshape(b, h, w, -1))


class LinearAttention(nnx.Module):
    """Linear attention, for the finest maps; a gain-only norm follows the output projection."""

    def __init__(self, width: int, heads: int, head_dim: int, *, kernels: Kernels, dtype: DTypeLike, rngs: nnx.Rngs):
        self.inner = heads * head_dim
        self.heads = heads
        self.kernels = kernels
        self.norm = ChannelNorm(width)
        self.qkv = dense(width, 3 * self.inner, bias=False, dtype=dtype, rngs=rngs)
        self.out = dense(self.inner, width, dtype=dtype, rngs=rngs)
        self.out_norm = ChannelNorm(width)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        kernel, out_kernel = (part.kernel[...].astype(part.dtype) for part in (self.qkv, self.out))
        assert self.out.bias is not None
        bias = self.out.bias[...].astype(self.out.dtype)
        return self.kernels.linear_attention(x, self.norm, kernel, out_kernel, bias, self.out_norm, self.heads)


class CrossAttention(nnx.Module):
    """Queries from c, keys and values from x.

    Each side owns a whole q-k-v projection, as in the original; only the halves that are used are computed.
    """

    def __init__(self, width: int, heads: int, head_dim: int, *, kernels: Kernels, dtype: DTypeLike, rngs: nnx.Rngs):
        self.inner = heads * head_dim
        self.heads = heads
        self.dtype = dtype
        self.kernels = kernels
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
        return self.out(self.kernels.attend(queries_of, keys_of, q_kernel, kv_kernel, self.heads).reshape(b, h, w, -1))
