"""The formulas as they are written, for XLA to schedule: how the network runs on GPUs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Rows of the attention matrix held at once: 6400 positions would need a matrix of 6400 x 6400 per head.
QUERY_BLOCK = 1024


def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], edge: int) -> Float[Array, "b p q o"]:
    """A convolution of stride 1 with `edge` zeros around."""
    padding = ((edge, edge), (edge, edge))
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def softmax_attention(
    q: Float[Array, "b n h d"], k: Float[Array, "b m h d"], v: Float[Array, "b m h d"]
) -> Float[Array, "b n h d"]:
    """softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017), by blocks of queries where there are many.

    A block's weights are computed again in the backward pass, so memory grows with n, not with n^2.
    """
    n = q.shape[1]
    if n <= QUERY_BLOCK:
        return jax.nn.dot_product_attention(q, k, v)
    blocks = -(-n // QUERY_BLOCK)
    padded = jnp.pad(q, ((0, 0), (0, blocks * QUERY_BLOCK - n), (0, 0), (0, 0)))
    padded = padded.reshape(q.shape[0], blocks, QUERY_BLOCK, *q.shape[2:]).swapaxes(0, 1)
    out = jax.lax.map(jax.checkpoint(lambda block: jax.nn.dot_product_attention(block, k, v)), padded)
    return out.swapaxes(0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, :n]


def flash_attention(
    q: Float[Array, "b n h d"], k: Float[Array, "b m h d"], v: Float[Array, "b m h d"]
) -> Float[Array, "b n h d"]:
    """The same by cuDNN's flash kernel (Dao et al. 2022): 16-bit inputs, head widths that are multiples of 8."""
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def attend(
    queries_of: Float[Array, "b n c"],
    keys_of: Float[Array, "b m c"],
    q_kernel: Float[Array, "c k"],
    kv_kernel: Float[Array, "c 2k"],
    heads: int,
    softmax_attention: Callable[[Array, Array, Array], Array] = softmax_attention,
) -> Float[Array, "b n k"]:
    """Projections and softmax attention between two sets of positions."""
    b, n, _ = queries_of.shape
    k, v = jnp.split(keys_of @ kv_kernel, 2, axis=-1)
    q, k, v = (part.reshape(*part.shape[:2], heads, -1) for part in (queries_of @ q_kernel, k, v))
    return softmax_attention(q, k, v).reshape(b, n, -1)


def linear_attention(
    x: Float[Array, "b h w c"],
    norm: Callable[..., Array],
    qkv_kernel: Float[Array, "c 3k"],
    out_kernel: Float[Array, "k c"],
    bias: Float[Array, " c"],
    out_norm: Callable[..., Array],
    heads: int,
) -> Float[Array, "b h w c"]:
    """Linear-cost attention (Shen et al. 2021), norms and projections included.

    Queries are softmaxed over features, keys over positions. The norms take the axis of the channels.
    """
    b, h, w, c = x.shape
    n = h * w
    parts = jnp.split(norm(x.reshape(b, n, c), axis=-1) @ qkv_kernel, 3, axis=-1)
    q, k, v = (part.reshape(b, n, heads, -1) for part in parts)
    q = jax.nn.softmax(q.astype(jnp.float32), axis=-1).astype(v.dtype) * q.shape[-1] ** -0.5
    k = jax.nn.softmax(k.astype(jnp.float32), axis=1).astype(v.dtype)
    context = jnp.einsum("bnhd,bnhe->bhde", k, v)
    read = jnp.einsum("bnhd,bhde->bnhe", q, context).reshape(b, h, w, -1)
    return out_norm(read @ out_kernel + bias, axis=-1)
