"""Softmax attention by cuDNN's flash kernel (Dao et al. 2022), which never writes the weights to memory.

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
_SMALLEST = 1e-30  # a gradient below this counts as zero

Heads = Float[Array, "b n h d"]


def attention(q: Heads, k: Heads, v: Heads) -> Heads:
    """Returns softmax(q k^T / sqrt(d)) v, in the dtype of q. Heads too wide for the kernel take plain.py's."""
    width = q.shape[-1]
    if width > WIDEST:
        return plain.softmax_attention(q, k, v)
    # The kernel takes widths divisible by 8; zeros change neither scores nor sums.
    q, k, v = (jnp.pad(part, ((0, 0), (0, 0), (0, 0), (0, -width % 8))) for part in (q, k, v))
    attend = _rounded if q.dtype == jnp.float32 else _kernel
    return attend(q, k, v, width**-0.5)[..., :width]


def _kernel(q: Heads, k: Heads, v: Heads, scale: float) -> Heads:
    return jax.nn.dot_product_attention(q, k, v, scale=scale, implementation="cudnn")


def _rounded(q: Heads, k: Heads, v: Heads, scale: float) -> Heads:
    """Returns the attention of float32 inputs by way of float16."""

    @jax.custom_vjp
    def attend(q: Heads, k: Heads, v: Heads) -> Heads:
        return forward(q, k, v)[0]

    def forward(q: Heads, k: Heads, v: Heads) -> tuple[Heads, Callable[..., Any]]:
        halves = (part.astype(jnp.float16) for part in (q, k, v))
        out, pull = jax.vjp(partial(_kernel, scale=scale), *halves)
        return out.astype(jnp.float32), pull

    def backward(pull: Callable[..., Any], g: Heads) -> tuple[Heads, ...]:
        # Gradients are far below float16's range. Scaled by a power of two they lose no bits, and the sum over all
        # queries of a key cannot overflow.
        _, exponent = jnp.frexp(jnp.maximum(jnp.max(jnp.abs(g)), _SMALLEST) * g.shape[1])
        factor = jnp.ldexp(jnp.float32(1), 15 - exponent)
        return tuple(part.astype(jnp.float32) / factor for part in pull((g * factor).astype(jnp.float16)))

    attend.defvjp(forward, backward)
    return attend(q, k, v)
