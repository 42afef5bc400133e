"""The formulas as they are written, for XLA to schedule: how the network runs on GPUs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.models.recompute import recompute, save_activation

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


def softmax_pool(
    keys_values: Callable[[Float[Array, "*b r c"]], tuple[Float[Array, "*b r k"], Float[Array, "*b r d"]]],
    x: Float[Array, "b n c"],
) -> Float[Array, "b k d"]:
    """Returns, for every key feature, the mean of the values weighted by its softmax over all positions; float32.

    `keys_values` acts on each position alone. The backward pass computes it again.
    """

    @recompute
    def pool(x: Float[Array, "b n c"]) -> Float[Array, "b k d"]:
        keys, values = keys_values(x)
        keys = keys.astype(jnp.float32)
        # Small next to the weights, and each would take a pass over them.
        top = save_activation(jax.lax.stop_gradient(keys.max(1, keepdims=True)))
        weights = jnp.exp(keys - top)
        total = save_activation(weights.sum(1))
        return save_activation(weighted_sum(weights, values)) / total[..., None]

    return pool(x)


def weighted_sum(weights: Float[Array, "*b r k"], values: Float[Array, "*b r d"]) -> Float[Array, "*b k d"]:
    """The sum over positions of weights times values, in float32."""
    weights = weights.astype(values.dtype)
    return jnp.einsum("...rk,...rd->...kd", weights, values, preferred_element_type=jnp.float32)


def map_positions(
    function: Callable[[Float[Array, "*b r c"], Float[Array, "*b k d"]], Float[Array, "*b r d"]],
    x: Float[Array, "b n c"],
    table: Float[Array, "b k d"],
) -> Float[Array, "b n d"]:
    """Returns function(x, table), where the function acts on each position alone. The backward pass repeats it.

    `table` belongs to the whole image; a position's largest intermediate has as many values as it has rows.
    """
    return jax.checkpoint(function)(x, table)
