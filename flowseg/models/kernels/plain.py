"""The operations as their formulas say, scheduled by XLA. GPUs run these."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.models.recompute import recompute, save_activation

# Rows of the attention matrix that are held at once. For 6400 positions the whole has 6400 x 6400 per head.
QUERY_BLOCK = 1024


def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], edge: int) -> Float[Array, "b p q o"]:
    """Returns the convolution of stride 1 with `edge` zeros on every side."""
    padding = ((edge, edge), (edge, edge))
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def softmax_attention(
    q: Float[Array, "b n h d"], k: Float[Array, "b m h d"], v: Float[Array, "b m h d"]
) -> Float[Array, "b n h d"]:
    """Returns softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017).

    Many queries are taken in blocks whose weights the backward pass computes again, so memory grows with n, not n^2.
    """
    n = q.shape[1]
    if n <= QUERY_BLOCK:
        return jax.nn.dot_product_attention(q, k, v)
    blocks = -(-n // QUERY_BLOCK)
    padded = jnp.pad(q, ((0, 0), (0, blocks * QUERY_BLOCK - n), (0, 0), (0, 0)))
    padded = padded.reshape(q.shape[0], blocks, QUERY_BLOCK, *q.shape[2:]).swapaxes(0, 1)
    out = jax.lax.map(jax.checkpoint(lambda block: jax.nn.dot_product_attention(block, k, v)), padded)
    return out.swapaxes(0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, :n]


def attend(
    queries_of: Float[Array, "b n c"],
    keys_of: Float[Array, "b m c"],
    q_kernel: Float[Array, "c k"],
    kv_kernel: Float[Array, "c 2k"],
    heads: int,
    softmax_attention: Callable[[Array, Array, Array], Array] = softmax_attention,
) -> Float[Array, "b n k"]:
    """Returns the softmax attention between two sets of positions, projections included, before the output's."""
    b, n, _ = queries_of.shape
    k, v = jnp.split(keys_of @ kv_kernel, 2, axis=-1)
    q, k, v = (part.reshape(*part.shape[:2], heads, -1) for part in (queries_of @ q_kernel, k, v))
    return softmax_attention(q, k, v).reshape(b, n, -1)


def softmax_pool(x: Float[Array, "b n c"], kernel: Float[Array, "c k"]) -> Float[Array, "b k c"]:
    """Returns softmax(x kernel)^T x in float32, where the softmax is over the positions of an image.

    The backward pass computes the keys x kernel again.
    """

    @recompute
    def pool(x: Float[Array, "b n c"]) -> Float[Array, "b k c"]:
        keys = (x @ kernel).astype(jnp.float32)
        # What is saved is small; computing it again would read all keys or weights.
        top = save_activation(jax.lax.stop_gradient(keys.max(1, keepdims=True)))
        weights = jnp.exp(keys - top)
        total = save_activation(weights.sum(1))
        return save_activation(weighted_sum(weights, x)) / total[..., None]

    return pool(x)


def weighted_sum(weights: Float[Array, "*b r k"], values: Float[Array, "*b r d"]) -> Float[Array, "*b k d"]:
    """Returns the sum over positions of weights times values, in float32."""
    weights = weights.astype(values.dtype)
    return jnp.einsum("...rk,...rd->...kd", weights, values, preferred_element_type=jnp.float32)


def map_positions(
    function: Callable[[Float[Array, "*b r c"], Float[Array, "*b k d"]], Float[Array, "*b r d"]],
    x: Float[Array, "b n c"],
    table: Float[Array, "b k d"],
) -> Float[Array, "b n d"]:
    """Returns function(x, table), where the function treats each position on its own.

    `table` is shared by the positions of an image. The largest intermediate of a position has as many values as the
    table has rows. The backward pass calls the function again.
    """
    return jax.checkpoint(function)(x, table)
