"""Attention by cuDNN's flash kernel (Dao et al. 2022), which never writes the weights to memory.

The kernel takes 16-bit queries, keys and values. bfloat16 goes in as it is. float32 is rounded to float16: it keeps 11
bits, as many as the TF32 products that GPUs compute float32 by (Ampere and later), and is summed in float32 as they
are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.models.kernels import plain

WIDEST = 128
"""Features of a head that the kernel takes on every card that has it."""
POSITIONS_AT_ONCE = 4096
"""Positions of a block in `softmax_pool`, at least."""
_SMALLEST = 1e-30  # a gradient below this counts as zero

Heads = Float[Array, "b n h d"]
Pull = Callable[..., Any]


def attention(q: Heads, k: Heads, v: Heads) -> Heads:
    """Returns softmax(q k^T / sqrt(d)) v, in the dtype of q. Heads too wide for the kernel take plain.py's."""
    width = q.shape[-1]
    if width > WIDEST:
        return plain.softmax_attention(q, k, v)

    @jax.custom_vjp
    def attend(q: Heads, k: Heads, v: Heads) -> Heads:
        return forward(q, k, v)[0]

    def forward(q: Heads, k: Heads, v: Heads) -> tuple[Heads, Pull]:
        out, _, pull = _attended(q, k, v, width**-0.5)
        return out, pull

    def backward(pull: Pull, g: Heads) -> tuple[Heads, ...]:
        return _gradients(pull, g, g.dtype, g.shape[1])

    attend.defvjp(forward, backward)
    return attend(q, k, v)


def softmax_pool(x: Float[Array, "b n c"], kernel: Float[Array, "c k"]) -> Float[Array, "b k c"]:
    """The same as in plain.py. Maps too wide for the flash kernel take that form.

    This is softmax attention: the columns of the kernel are the queries, and the positions are both keys and values.
    The flash kernel reads all keys of a query one after the other. With so few queries most of a card would be idle.
    So blocks of positions are read at the same time, and what each gives is weighted by its share of the exponentials.
    """
    b, n, c = x.shape
    if c > WIDEST:
        return plain.softmax_pool(x, kernel)
    blocks = next(count for count in range(n // min(n, POSITIONS_AT_ONCE), 0, -1) if n % count == 0)

    @jax.custom_vjp
    def pool(x: Float[Array, "b n c"], queries: Float[Array, "k c"]) -> Float[Array, "b k c"]:
        return forward(x, queries)[0]

    def by_block(queries: Float[Array, "b s k c"]) -> Heads:
        return queries.reshape(b * blocks, -1, 1, c)

    def forward(x: Float[Array, "b n c"], queries: Float[Array, "k c"]) -> tuple[Float[Array, "b k c"], Any]:
        positions = x.reshape(b * blocks, -1, 1, c)
        asked = by_block(jnp.broadcast_to(queries, (b, blocks, *queries.shape)))
        read, sums, pull = _attended(asked, positions, positions, 1.0)
        read = read.reshape(b, blocks, -1, c)
        share = jax.nn.softmax(sums.reshape(b, blocks, -1, 1), axis=1)
        pooled = (share * read).sum(1)
        return pooled, (pull, queries, read, share, pooled)

    def backward(saved: Any, g: Float[Array, "b k c"]) -> tuple[Array, Array]:
        # The gradient of a score is proportional to g (x - pooled). The kernel takes each block for the whole, so it
        # computes g (x - read). What is missing has the form of a gradient by the values.
        pull, queries, read, share, pooled = saved
        g = g[:, None]
        rest = share * (g * (read - pooled[:, None])).sum(-1, keepdims=True)
        by_queries, by_keys, by_values = _gradients(pull, by_block(share * g), queries.dtype, queries.size)
        _, _, more = _gradients(pull, by_block(rest * queries), queries.dtype, queries.size)
        by_x = jnp.stack([by_keys, by_values, more]).astype(jnp.float32).sum(0)
        of_queries = by_queries.astype(jnp.float32).sum((0, 2)) + (rest * read).sum((0, 1))
        return by_x.astype(x.dtype).reshape(x.shape), of_queries.astype(queries.dtype)

    pool.defvjp(forward, backward)
    return pool(x, kernel.T)


def _attended(q: Heads, k: Heads, v: Heads, scale: float) -> tuple[Heads, Float[Array, "b h n"], Pull]:
    """Returns the attention, the logarithms of its sums of exponentials, and its gradients as a function."""
    half = jnp.float16 if q.dtype == jnp.float32 else q.dtype
    parts = (_padded(part).astype(half) for part in (q, k, v))
    (out, sums), pull = jax.vjp(partial(_kernel, scale=scale), *parts)
    return out[..., : q.shape[-1]].astype(q.dtype), sums, pull


def _padded(part: Heads) -> Heads:
    """The kernel takes widths divisible by 8; zeros change neither scores nor sums."""
    return jnp.pad(part, ((0, 0), (0, 0), (0, 0), (0, -part.shape[-1] % 8)))


def _gradients(pull: Pull, g: Heads, dtype: Any, terms: int) -> tuple[Heads, ...]:
    """Returns the gradients by queries, keys and values of `dtype`, given that of the output.

    None of them exceeds `terms` times the largest value of g.
    """
    width, padded = g.shape[-1], _padded(g)
    no_sums = jnp.zeros((g.shape[0], g.shape[2], g.shape[1]), jnp.float32)
    if dtype != jnp.float32:
        return tuple(part[..., :width] for part in pull((padded.astype(dtype), no_sums)))
    # Gradients are far below float16's range. Scaled by a power of two they lose no bits and cannot overflow.
    _, exponent = jnp.frexp(jnp.maximum(jnp.max(jnp.abs(g)), _SMALLEST) * terms)
    factor = jnp.ldexp(jnp.float32(1), 15 - exponent)
    halves = pull(((padded * factor).astype(jnp.float16), no_sums))
    return tuple(part[..., :width].astype(jnp.float32) / factor for part in halves)


def _kernel(q: Heads, k: Heads, v: Heads, scale: float) -> tuple[Heads, Float[Array, "b h n"]]:
    """Returns the attention and the logarithms of its sums of exponentials, whose gradient is not followed."""
    # What jax.nn.dot_product_attention calls; that function would round the sums to 16 bits.
    from jax._src.cudnn.fused_attention_stablehlo import dot_product_attention

    return dot_product_attention(q, k, v, scale=scale, return_residual=True)
