"""The same operations in blocks that stay in cache. CPUs run these.

XLA's CPU backend writes every intermediate map to memory, and this traffic limits a step of the network more than
arithmetic does (docs/performance.md). Here work is done in blocks of about two megabytes, and the backward pass
computes a block again instead of reading it back.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.models.kernels import plain

# Size of the largest intermediate of a block.
BLOCK_BYTES = 2 * 2**20


def _fitting(total: int, bytes_each: int) -> int:
    """Returns the largest divisor n of `total` with n * bytes_each <= BLOCK_BYTES, at least 1."""
    wanted = max(1, min(total, BLOCK_BYTES // bytes_each))
    return next(size for size in range(wanted, 0, -1) if total % size == 0)


def _project(kernel: Float[Array, "c k"], x: Float[Array, "c n"]) -> Float[Array, "k n"]:
    """A dense layer where the positions come last: no product of the attention then needs a transposition."""
    return jax.lax.dot_general(kernel.T, x, (((1,), (0,)), ((), ())))


def _softmax_attention(
    q: Float[Array, "h d n"], k: Float[Array, "h d m"], v: Float[Array, "h d m"]
) -> Float[Array, "h d n"]:
    """Returns the softmax attention of one image, by heads and blocks of queries."""
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
    """Applies a function of one image to each image of a batch, one after the other."""
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
    """The same as in plain.py, by heads and blocks of queries."""
    n = queries_of.shape[1]

    def image(queries_of: Float[Array, "n c"], keys_of: Float[Array, "m c"]) -> Float[Array, "n k"]:
        q = _project(q_kernel, queries_of.T).reshape(heads, -1, n)
        k, v = _project(kv_kernel, keys_of.T).reshape(2, heads, -1, keys_of.shape[0])
        return _softmax_attention(q, k, v).reshape(-1, n).T

    return _each_image(image, queries_of, keys_of)


def softmax_pool(x: Float[Array, "b n c"], kernel: Float[Array, "c k"]) -> Float[Array, "b k c"]:
    """The same as in plain.py, by blocks of positions.

    The softmax is summed block by block relative to a running maximum (Milakov and Gimelshein 2018). The maximum
    cancels in the result, so it needs no gradient.
    """
    b, n, c = x.shape
    k = kernel.shape[1]
    size = _block_of_positions(n, k)
    if b * n <= size:
        return plain.softmax_pool(x, kernel)

    @jax.checkpoint
    def add(carry: tuple[Array, Array, Array], part: Float[Array, "r c"]) -> tuple[tuple[Array, Array, Array], None]:
        top, total, pooled = carry
        keys = (part @ kernel).astype(jnp.float32)
        higher = jnp.maximum(top, jax.lax.stop_gradient(keys.max(0)))
        rescale = jnp.exp(top - higher)
        weights = jnp.exp(keys - higher)
        pooled = pooled * rescale[:, None] + plain.weighted_sum(weights, part)
        return (higher, total * rescale + weights.sum(0), pooled), None

    def image(x: Float[Array, "n c"]) -> Float[Array, "k c"]:
        start = (jnp.full((k,), -jnp.inf), jnp.zeros((k,)), jnp.zeros((k, c)))
        (_, total, pooled), _ = jax.lax.scan(add, start, x.reshape(-1, size, c))
        return pooled / total[:, None]

    return _each_image(image, x)


def map_positions(
    function: Callable[[Float[Array, "*b r c"], Float[Array, "*b k d"]], Float[Array, "*b r d"]],
    x: Float[Array, "b n c"],
    table: Float[Array, "b k d"],
) -> Float[Array, "b n d"]:
    """The same as in plain.py, by blocks of positions."""
    b, n, c = x.shape
    size = _block_of_positions(n, table.shape[1])
    if b * n <= size:
        return plain.map_positions(function, x, table)

    def image(x: Float[Array, "n c"], table: Float[Array, "k d"]) -> Float[Array, "n d"]:
        block = jax.checkpoint(lambda part: function(part, table))
        return jax.lax.map(block, x.reshape(-1, size, c)).reshape(n, -1)

    return _each_image(image, x, table)


def _block_of_positions(total: int, width: int) -> int:
    """Returns how many positions fit a block that holds two maps of `width` float32 values per position."""
    return _fitting(total, 2 * 4 * width)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "kh kw i o"], edge: int) -> Float[Array, "b p q o"]:
    """The same as in plain.py. Its gradient with respect to the kernel is computed in blocks."""
    return plain.convolve(x, kernel, edge)


def _forward(x: Array, kernel: Array, edge: int) -> tuple[Array, tuple[Array, Array]]:
    return plain.convolve(x, kernel, edge), (x, kernel)


def _backward(edge: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # The transposed convolution written out: inside a loop, XLA's own is some 40 times slower on CPUs.
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    by_x = plain.convolve(g, flipped, kernel.shape[0] - 1 - edge)
    return by_x, kernel_gradient(x, g, (kernel.shape[0], kernel.shape[1]), edge).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: Float[Array, "b h w i"], g: Float[Array, "b p q o"], sides: tuple[int, int], edge: int
) -> Float[Array, "kh kw i o"]:
    """Returns the sum over positions of x[h + a - edge, w + b - edge] g[h, w], for a and b below the kernel's sides.

    Columns are shifted in x and rows in g, so that one product of (kh o) x positions by positions x (kw i) holds
    every pair of shifts once.
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
