"""Attention and weight gradients in blocks that stay in cache: how the network runs on CPUs.

XLA's CPU backend writes every intermediate map to memory, and a step of this network is bound by that traffic more
than by arithmetic (docs/performance.md). Here work is done in blocks of about two megabytes, which the backward pass
computes again instead of reading them back, and the positions of a map come last, so that no product of an attention
needs a transposition.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.models.kernels import plain

# Bytes of the largest intermediate of a block.
BLOCK_BYTES = 2 * 2**20
# An intermediate of this size is worth a loop over blocks.
LARGE_BYTES = 16 * 2**20


def _fitting(total: int, bytes_each: int) -> int:
    """The largest divisor of `total` so that as many of these bytes fit a block."""
    wanted = max(1, min(total, BLOCK_BYTES // bytes_each))
    return next(size for size in range(wanted, 0, -1) if total % size == 0)


def features_first(kernel: Float[Array, "c k"], x: Float[Array, "c n"]) -> Float[Array, "k n"]:
    """A dense layer on maps whose positions come last."""
    return jax.lax.dot_general(kernel.T, x, (((1,), (0,)), ((), ())))


def softmax_attention(
    q: Float[Array, "h d n"], k: Float[Array, "h d m"], v: Float[Array, "h d m"]
) -> Float[Array, "h d n"]:
    """Softmax attention (Vaswani et al. 2017) of one image, by heads and blocks of queries."""
    _, features, n = q.shape
    size = _fitting(n, 4 * k.shape[-1])
    scale = features**-0.5

    @jax.checkpoint
    def block(q: Float[Array, "d r"], k: Float[Array, "d m"], v: Float[Array, "d m"]) -> Float[Array, "d r"]:
        scores = jax.lax.dot_general(q * scale, k, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
        return jax.lax.dot_general(v, weights, (((1,), (1,)), ((), ())))

    def head(qkv: tuple[Array, Array, Array]) -> Array:
        q, k, v = qkv
        blocks = q.reshape(features, -1, size).swapaxes(0, 1)
        return jax.lax.map(lambda part: block(part, k, v), blocks).swapaxes(0, 1).reshape(features, n)

    return jax.lax.map(head, (q, k, v))


def _each_image(function: Callable[..., Array], *arrays: Array) -> Array:
    """`function` of one image, over a batch, one after the other."""
    if arrays[0].shape[0] == 1:
        return function(*(a[0] for a in arrays))[None]
    return jax.lax.map(lambda parts: function(*parts), arrays)


def attend(
    queries_of: Float[Array, "b n c"],
    keys_of: Float[Array, "b m c"],
    q_kernel: Float[Array, "c k"],
    kv_kernel: Float[Array, "c 2k"],
    heads: int,
) -> Float[Array, "b n k"]:
    """Projections and softmax attention between two sets of positions."""
    b, n, _ = queries_of.shape
    if 4 * b * heads * n * keys_of.shape[1] <= LARGE_BYTES:
        return plain.attend(queries_of, keys_of, q_kernel, kv_kernel, heads)

    def image(queries_of: Float[Array, "n c"], keys_of: Float[Array, "m c"]) -> Float[Array, "n k"]:
        q = features_first(q_kernel, queries_of.T).reshape(heads, -1, n)
        k, v = features_first(kv_kernel, keys_of.T).reshape(2, heads, -1, keys_of.shape[0])
        return softmax_attention(q, k, v).reshape(-1, n).T

    return _each_image(image, queries_of, keys_of)


def linear_attention(
    x: Float[Array, "b h w c"],
    norm: Callable[..., Array],
    qkv_kernel: Float[Array, "c 3k"],
    out_kernel: Float[Array, "k c"],
    bias: Float[Array, " c"],
    out_norm: Callable[..., Array],
    heads: int,
) -> Float[Array, "b h w c"]:
    """Linear-cost attention (Shen et al. 2021), norms and projections included."""
    b, h, w, c = x.shape
    if 4 * b * h * w * qkv_kernel.shape[1] <= LARGE_BYTES:
        return plain.linear_attention(x, norm, qkv_kernel, out_kernel, bias, out_norm, heads)
    width = qkv_kernel.shape[1] // 3
    q_kernel, kv_kernel = qkv_kernel[:, :width], qkv_kernel[:, width:]
    bias = bias[:, None]

    def queries(part: Array) -> Array:
        return features_first(q_kernel, norm(part, axis=0)).reshape(heads, -1, part.shape[1])

    def keys_values(part: Array) -> tuple[Array, Array]:
        k, v = features_first(kv_kernel, norm(part, axis=0)).reshape(2, heads, -1, part.shape[1])
        return k, v

    def output(read: Array) -> Array:
        return out_norm(features_first(out_kernel, read.reshape(width, -1)) + bias, axis=0)

    tokens = x.reshape(b, h * w, c)
    return _each_image(lambda x: _linear_attention(x, queries, keys_values, output, width), tokens).reshape(x.shape)


def _linear_attention(
    x: Float[Array, "n c"],
    queries: Callable[[Float[Array, "c r"]], Float[Array, "h d r"]],
    keys_values: Callable[[Float[Array, "c r"]], tuple[Float[Array, "h d r"], Float[Array, "h d r"]]],
    output: Callable[[Float[Array, "h d r"]], Float[Array, "c r"]],
    width: int,
) -> Float[Array, "n c"]:
    """Linear attention of one image, by blocks of positions.

    The softmax of the keys over all positions is summed up block by block against a running maximum (Milakov and
    Gimelshein 2018), which cancels and so takes no gradient. `width` is heads x features.
    """
    n, c = x.shape
    size = _fitting(n, 4 * 2 * width)
    blocks = x.reshape(-1, size, c)
    heads, features, _ = jax.eval_shape(queries, blocks[0].T).shape

    @jax.checkpoint
    def add(carry: tuple[Array, Array, Array], part: Float[Array, "r c"]) -> tuple[tuple[Array, Array, Array], None]:
        top, total, context = carry
        k, v = keys_values(part.T)
        k = k.astype(jnp.float32)
        higher = jnp.maximum(top, jax.lax.stop_gradient(k.max(-1)))
        rescale = jnp.exp(top - higher)
        weights = jnp.exp(k - higher[..., None])
        total = total * rescale + weights.sum(-1)
        summed = jnp.einsum("hdn,hen->hde", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return (higher, total, context * rescale[..., None] + summed), None

    start = (
        jnp.full((heads, features), -jnp.inf),
        jnp.zeros((heads, features)),
        jnp.zeros((heads, features, features)),
    )
    (_, total, context), _ = jax.lax.scan(add, start, blocks)
    context = context * (features**-0.5 / total[..., None])

    @jax.checkpoint
    def read(part: Float[Array, "r c"]) -> Float[Array, "r c"]:
        q = queries(part.T)
        weights = jax.nn.softmax(q.astype(jnp.float32), axis=1).astype(q.dtype)
        return output(jnp.einsum("hde,hdn->hen", context.astype(q.dtype), weights)).T

    return jax.lax.map(read, blocks).reshape(n, c)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], edge: int) -> Float[Array, "b p q o"]:
    """A convolution of stride 1 with `edge` zeros around; its gradient by the kernel is made in blocks."""
    return plain.convolve(x, kernel, edge)


def _forward(x: Array, kernel: Array, edge: int) -> tuple[Array, tuple[Array, Array]]:
    return plain.convolve(x, kernel, edge), (x, kernel)


def _backward(edge: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # The transposed convolution, written out: inside a loop XLA's CPU backend runs its own some 40 times slower.
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    by_x = plain.convolve(g, flipped, kernel.shape[0] - 1 - edge)
    return by_x, kernel_gradient(x, g, (kernel.shape[0], kernel.shape[1]), edge).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: Float[Array, "b h w i"], g: Float[Array, "b p q o"], sides: tuple[int, int], edge: int
) -> Float[Array, "kh kw i o"]:
    """sum over positions of x[h + a - edge, w + b - edge] g[h, w], for a and b below the kernel's sides.

    The columns are shifted on the side of x and the rows on the side of g, so that one product, of (kh o) x positions
    by positions x (kw i), holds every shift once.
    """
    kh, kw = sides
    b, h, w, i = x.shape
    q, o = g.shape[2:]
    rows = _fitting(h, 4 * q * max(kw * i, kh * o))
    above = kh - 1 - edge
    g = jnp.pad(g, ((0, 0), (above, above), (0, 0), (0, 0)))
    per_image = h // rows

    def add(step: Array, total: Array) -> Array:
        image, row = step // per_image, step % per_image * rows
        part = jax.lax.dynamic_slice(x, (image, row, 0, 0), (1, rows, w, i))
        part = jnp.pad(part, ((0, 0), (0, 0), (edge, edge), (0, 0)))
        against = jax.lax.dynamic_slice(g, (image, row, 0, 0), (1, rows + kh - 1, q, o))
        by_column = jnp.concatenate([part[:, :, s : s + q] for s in range(kw)], axis=-1)
        by_row = jnp.concatenate([against[:, kh - 1 - s : kh - 1 - s + rows] for s in range(kh)], axis=-1)
        contracted = (((0, 1, 2), (0, 1, 2)), ((), ()))
        return total + jax.lax.dot_general(by_row, by_column, contracted, preferred_element_type=jnp.float32)

    total = jax.lax.fori_loop(0, b * per_image, add, jnp.zeros((kh * o, kw * i), jnp.float32))
    return total.reshape(kh, o, kw, i).transpose(0, 2, 3, 1)
