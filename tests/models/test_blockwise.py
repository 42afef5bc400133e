"""Work in blocks computes what the plain forms do, values and gradients."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flowseg.config import ModelConfig
from flowseg.models import attention, blockwise
from flowseg.models.network import params_of
from flowseg.models.unet import VelocityUNet


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def assert_close(a: jax.Array, b: jax.Array) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


def with_gradients(function: Callable[..., jax.Array], *arguments: jax.Array) -> list[jax.Array]:
    """The value, and the gradient of a random projection of it by every argument."""
    value, pull = jax.vjp(function, *arguments)
    return [value, *pull(normal(99, *value.shape))]


@pytest.fixture(params=[2**9, 2**11, 2**30])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "BLOCK_BYTES", request.param)


@pytest.mark.parametrize(("n", "m"), [(24, 24), (24, 40)])
def test_softmax_attention(block: None, n: int, m: int) -> None:
    def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        q, k, v = (a.transpose(2, 0, 1)[None] for a in (q, k, v))
        return jax.nn.dot_product_attention(q, k, v)[0].transpose(1, 2, 0)

    # Scores far from zero: a softmax without its maximum would overflow.
    inputs = (10 * normal(0, 2, 4, n), 10 * normal(1, 2, 4, m), normal(2, 2, 4, m))
    for a, b in zip(with_gradients(blockwise.softmax_attention, *inputs), with_gradients(plain, *inputs), strict=True):
        assert_close(a, b)


def test_linear_attention(block: None) -> None:
    heads, features, n, c = 2, 4, 48, 6

    def in_blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
        parts = kernel.reshape(c, 3, -1)

        def split(part: jax.Array, i: int) -> jax.Array:
            return blockwise.features_first(parts[:, i], part).reshape(heads, features, -1)

        return blockwise.linear_attention(
            x,
            lambda part: split(part, 0),
            lambda part: (split(part, 1), split(part, 2)),
            lambda read: read.reshape(heads * features, -1)[:c],
            heads * features,
        )

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        q, k, v = ((x @ part)[None].reshape(1, n, heads, features) for part in jnp.split(kernel, 3, axis=1))
        return attention.linear_attention(q, k, v).reshape(n, -1)

    # One key far above the others, so that the running maximum changes between blocks.
    x = normal(0, n, c).at[30].mul(20)
    inputs = (x, normal(1, c, 3 * heads * features))
    ours = with_gradients(in_blocks, *inputs)
    for a, b in zip(ours, with_gradients(lambda x, kernel: plain(x, kernel)[:, :c], *inputs), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize(("side", "edge"), [(3, 1), (7, 3), (2, 0), (1, 0)])
def test_convolution(block: None, side: int, edge: int) -> None:
    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = ((edge, edge), (edge, edge))
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    inputs = (normal(0, 2, 15, 12, 3), normal(1, side, side, 3, 5))
    ours = with_gradients(lambda x, k: blockwise.convolve(x, k, edge), *inputs)
    for a, b in zip(ours, with_gradients(plain, *inputs), strict=True):
        assert_close(a, b)


def test_the_whole_network_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(ModelConfig(), dim=8, heads=1, head_dim=8)
    model = VelocityUNet(config, 16, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    x, image, t = normal(0, 2, 16, 16, 1), normal(1, 2, 16, 16, 1), jnp.array([0.2, 0.9])

    def loss_and_gradients() -> list[jax.Array]:
        def loss(state: nnx.State) -> jax.Array:
            return jnp.mean(jnp.square(nnx.merge(graph, state)(x, t, image) - x))

        value, gradients = jax.jit(jax.value_and_grad(loss))(state)
        return [value, *jax.tree.leaves(gradients)]

    plain = loss_and_gradients()
    monkeypatch.setattr(blockwise, "LARGE_BYTES", 0)
    monkeypatch.setattr(blockwise, "BLOCK_BYTES", 2**12)
    assert len(plain) == 1 + len(jax.tree.leaves(params_of(model)))
    for a, b in zip(loss_and_gradients(), plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4 * max(float(jnp.abs(b).max()), 1e-2))
    # What other devices than CPUs run.
    monkeypatch.setattr(blockwise, "on_cpu", lambda: False)
    for a, b in zip(loss_and_gradients(), plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4 * max(float(jnp.abs(b).max()), 1e-2))


@pytest.mark.parametrize("kind", [attention.FullAttention, attention.LinearAttention])
def test_half_precision_is_as_near_in_blocks(kind: type[nnx.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(0, 2, 16, 16, 8)

    def gradients(dtype: jnp.dtype) -> jax.Array:
        graph, state = nnx.split(kind(8, 2, 8, dtype=dtype, rngs=nnx.Rngs(0)))

        def loss(state: nnx.State) -> jax.Array:
            return jnp.mean(jnp.square(nnx.merge(graph, state)(x.astype(dtype)).astype(jnp.float32) - x))

        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(state))])

    exact, plain = gradients(jnp.dtype("float32")), gradients(jnp.dtype("bfloat16"))
    monkeypatch.setattr(blockwise, "LARGE_BYTES", 0)
    monkeypatch.setattr(blockwise, "BLOCK_BYTES", 2**12)
    blocks = gradients(jnp.dtype("bfloat16"))
    assert bool(jnp.any(blocks != plain))
    error, plain_error = (float(jnp.linalg.norm(g - exact) / jnp.linalg.norm(exact)) for g in (blocks, plain))
    assert 1e-4 < plain_error < 0.1
    assert error < 1.5 * plain_error
