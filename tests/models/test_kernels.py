"""Both forms of each kernel have the same values and gradients, on their own and in the whole network."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flowseg.config import ModelConfig
from flowseg.models import attention
from flowseg.models.kernels import BLOCKS, FLASH, PLAIN, Kernels, blocks, choose, flash, plain
from flowseg.models.layers import Compute
from flowseg.models.parameters import draw
from flowseg.models.unet import UNet


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def assert_close(a: jax.Array, b: jax.Array) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max()))


def with_gradients(function: Callable[..., jax.Array], *arguments: Any) -> list[Any]:
    """Returns the value, and the gradient of a random projection of it for every argument, as one program."""

    @jax.jit
    def both(*arguments: Any) -> list[Any]:
        value, pull = jax.vjp(function, *arguments)
        return [value, *pull(normal(99, *value.shape))]

    return both(*arguments)


def split(model: nnx.Module) -> tuple[nnx.GraphDef, nnx.State]:
    """The structure of a module and a first draw of its parameters."""
    graph, declared = nnx.split(model)
    rng = np.random.default_rng(0)
    leaves, structure = jax.tree.flatten(declared, is_leaf=lambda leaf: isinstance(leaf, nnx.Param))
    return graph, jax.tree.unflatten(structure, [leaf.replace(jnp.asarray(draw(leaf, rng))) for leaf in leaves])


@pytest.fixture
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small inputs are done in blocks: of 512 bytes, or of as many as the test is parametrised with."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", getattr(request, "param", 2**9))


# Blocks of 4 or 3 of the 24 queries, and all in one.
@pytest.mark.parametrize(("block", "m"), [(2**9, 24), (2**9, 40), (2**30, 40)], indirect=["block"])
def test_softmax_attention(block: None, m: int) -> None:
    n = 24
    # Scores far from zero: a softmax without its maximum would overflow.
    inputs = (normal(0, 2, n, 6), normal(1, 2, m, 6), 10 * normal(2, 6, 8), normal(3, 6, 16))
    ours = with_gradients(lambda *parts: blocks.attend(*parts, heads=2), *inputs)
    for a, b in zip(ours, with_gradients(lambda *parts: plain.attend(*parts, heads=2), *inputs), strict=True):
        assert_close(a, b)


def test_many_queries_are_attended_in_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = (normal(0, 2, 40, 6), normal(1, 2, 24, 6), normal(2, 6, 8), normal(3, 6, 16))
    whole = with_gradients(lambda *parts: plain.attend(*parts, heads=2), *inputs)
    monkeypatch.setattr(plain, "QUERY_BLOCK", 16)
    for a, b in zip(with_gradients(lambda *parts: plain.attend(*parts, heads=2), *inputs), whole, strict=True):
        assert_close(a, b)


# Blocks of one or some of the 15 rows, and all in one.
@pytest.mark.parametrize("block", [2**11, 2**30], indirect=True)
@pytest.mark.parametrize(("side", "edge"), [(3, 1), (7, 3), (2, 0), (1, 0)])
def test_convolution(block: None, side: int, edge: int) -> None:
    inputs = (normal(0, 2, 15, 12, 3), normal(1, side, side, 3, 5))
    ours = with_gradients(lambda x, k: blocks.convolve(x, k, edge), *inputs)
    for a, b in zip(ours, with_gradients(lambda x, k: plain.convolve(x, k, edge), *inputs), strict=True):
        assert_close(a, b)


def far_positions() -> tuple[jax.Array, jax.Array]:
    """Positions and a kernel: one key is far above the others, so blocks have unequal shares of a softmax."""
    return normal(0, 2, 48, 6).at[:, 30].mul(20), normal(1, 6, 8)


def test_softmax_pool(block: None) -> None:
    x, kernel = far_positions()
    found, whole = (with_gradients(kernels.softmax_pool, x, kernel) for kernels in (BLOCKS, PLAIN))
    formula = jnp.einsum("bnk,bnc->bkc", jax.nn.softmax(x @ kernel, axis=1), x)
    np.testing.assert_allclose(whole[0], formula, rtol=1e-4, atol=1e-5)
    for a, b in zip(found, whole, strict=True):
        assert_close(a, b)


def test_map_positions(block: None) -> None:
    inputs = (normal(0, 2, 48, 6), normal(1, 2, 8, 5), normal(2, 6, 8))

    def mapped(kernels: Kernels) -> list[jax.Array]:
        return with_gradients(
            lambda x, table, k: kernels.map_positions(lambda part, t: jnp.sin(part @ k) @ t, x, table), *inputs
        )

    x, table, kernel = inputs
    found, whole = mapped(BLOCKS), mapped(PLAIN)
    assert_close(whole[0], jnp.sin(x @ kernel) @ table)
    for a, b in zip(found, whole, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("kernels", [PLAIN, BLOCKS], ids=["plain", "blocks"])
def test_linear_attention_is_the_formula(block: None, kernels: Kernels) -> None:
    """Shen et al. 2021, with queries, keys and values written out."""
    heads = 2
    graph, state = split(attention.LinearAttention(6, heads, 4, Compute(kernels, jnp.float32)))
    x = normal(0, 2, 8, 6, 6).at[:, 5, 0].mul(20)

    def formula(state: nnx.State, x: jax.Array) -> jax.Array:
        layer = nnx.merge(graph, state)
        tokens = layer.norm(x).reshape(2, 48, 6)
        q, k, v = (part.reshape(2, 48, heads, -1) for part in jnp.split(layer.qkv(tokens), 3, axis=-1))
        q, k = jax.nn.softmax(q, axis=-1) * 4**-0.5, jax.nn.softmax(k, axis=1)
        read = jnp.einsum("bnhd,bhde->bnhe", q, jnp.einsum("bnhd,bnhe->bhde", k, v))
        return layer.out_norm(layer.out(read.reshape(2, 8, 6, -1)))

    ours = with_gradients(lambda state, x: nnx.merge(graph, state)(x), state, x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(with_gradients(formula, state, x)), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_softmax_attention_of_normed_maps_is_the_formula(dtype: jnp.dtype) -> None:
    """The gains of the norms are not 1, and differ between the two maps."""
    compute = Compute(PLAIN, dtype)
    full_graph, full = split(attention.FullAttention(16, 2, 8, compute))
    cross_graph, cross = split(attention.CrossAttention(16, 2, 8, compute))
    full, cross = (jax.tree.map(lambda leaf: leaf + 0.5 * normal(leaf.size, *leaf.shape), s) for s in (full, cross))
    x, c = normal(0, 2, 4, 6, 16).astype(dtype), normal(1, 2, 4, 6, 16).astype(dtype)

    def read(layer: attention.FullAttention | attention.CrossAttention, *parts: jax.Array) -> jax.Array:
        q, k, v = (part.reshape(2, 24, 2, 8) for part in parts)
        return layer.out(jax.nn.dot_product_attention(q, k, v).reshape(2, 4, 6, 16)).astype(jnp.float32)

    def full_formula(state: nnx.State, x: jax.Array) -> jax.Array:
        layer = nnx.merge(full_graph, state)
        return read(layer, *jnp.split(layer.qkv(layer.norm(x)), 3, axis=-1))

    def cross_formula(state: nnx.State, x: jax.Array, c: jax.Array) -> jax.Array:
        layer = nnx.merge(cross_graph, state)
        of_x, of_c = layer.qkv_x(layer.norm_x(x)), layer.qkv_c(layer.norm_c(c))
        return read(layer, of_c[..., :16], *jnp.split(of_x[..., 16:], 2, axis=-1))

    def ours(graph: nnx.GraphDef, state: nnx.State, *maps: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(*maps).astype(jnp.float32)

    of_full, of_cross = (full_graph, full_formula, (full, x)), (cross_graph, cross_formula, (cross, x, c))
    for graph, formula, arguments in (of_full, of_cross):
        found, wanted = with_gradients(partial(ours, graph), *arguments), with_gradients(formula, *arguments)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            limit = 1e-4 if dtype == jnp.float32 else 0.05
            np.testing.assert_allclose(a, b, rtol=0, atol=limit * float(jnp.abs(b).max()))


@pytest.fixture
def loss_and_gradients() -> Callable[..., list[jax.Array]]:
    # One level has every kernel: convolutions, attention in the middle, linear attention.
    config = ModelConfig(dim=8, multipliers=(1,), heads=1, head_dim=8, full_attention_levels=())
    x, image, t = normal(0, 2, 8, 8, 1), normal(1, 2, 8, 8, 1), jnp.array([0.2, 0.9])

    def of_network(kernels: Kernels, dtype: jnp.dtype) -> list[jax.Array]:
        graph, state = split(UNet(config, 8, kernels=kernels, dtype=dtype))

        def loss(state: nnx.State) -> jax.Array:
            return jnp.mean(jnp.square(nnx.merge(graph, state)(x, t, image) - x))

        value, gradients = jax.jit(jax.value_and_grad(loss))(state)
        return [value, *jax.tree.leaves(gradients)]

    return of_network


def kernel_in(dtype: Any) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Stands in for cuDNN's kernel where there is none: the same inputs, weights rounded as it rounds them."""

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, scale: float) -> tuple[jax.Array, jax.Array]:
        assert q.dtype == k.dtype == v.dtype == dtype and q.shape[-1] % 8 == 0
        scores = scale * jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1).astype(dtype)
        read = jnp.einsum("bhnm,bmhd->bnhd", weights, v, preferred_element_type=jnp.float32).astype(dtype)
        return read, jax.lax.stop_gradient(jax.nn.logsumexp(scores, axis=-1))

    return attend


def test_the_whole_network_is_the_same_with_all_kernels(
    loss_and_gradients: Callable[..., list[jax.Array]], monkeypatch: pytest.MonkeyPatch
) -> None:
    single, half = jnp.dtype("float32"), jnp.dtype("bfloat16")
    found = loss_and_gradients(PLAIN, single)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**10)
    for a, b in zip(loss_and_gradients(BLOCKS, single), found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4 * max(float(jnp.abs(b).max()), 1e-2))

    def error(leaves: list[jax.Array]) -> float:
        assert float(leaves[0]) == pytest.approx(float(found[0]), rel=0.01)
        rough, exact = (jnp.concatenate([jnp.ravel(leaf) for leaf in part[1:]]) for part in (leaves, found))
        return float(jnp.linalg.norm(rough - exact) / jnp.linalg.norm(exact))

    # Attention through float16 has 11 bits; half precision has 8, an error of 0.4 % at every operation.
    monkeypatch.setattr(flash, "_kernel", kernel_in(jnp.float16))
    monkeypatch.setattr(flash, "POSITIONS_AT_ONCE", 16)
    assert 1e-6 < error(loss_and_gradients(FLASH, single)) < 2e-3
    assert error(loss_and_gradients(PLAIN, half)) < 0.05


@pytest.mark.parametrize("kind", [attention.FullAttention, attention.LinearAttention])
def test_half_precision_is_as_near_in_blocks(
    kind: type[attention.FullAttention | attention.LinearAttention], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = normal(0, 2, 16, 16, 8)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**12)

    def gradients(kernels: Kernels, dtype: jnp.dtype) -> jax.Array:
        graph, state = split(kind(8, 2, 8, Compute(kernels, dtype)))

        def loss(state: nnx.State) -> jax.Array:
            return jnp.mean(jnp.square(nnx.merge(graph, state)(x.astype(dtype)).astype(jnp.float32) - x))

        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(state))])

    exact = gradients(PLAIN, jnp.dtype("float32"))
    in_plain, in_blocks = (gradients(kernels, jnp.dtype("bfloat16")) for kernels in (PLAIN, BLOCKS))
    assert bool(jnp.any(in_blocks != in_plain))
    error, plain_error = (float(jnp.linalg.norm(g - exact) / jnp.linalg.norm(exact)) for g in (in_blocks, in_plain))
    assert 1e-4 < plain_error < 0.1
    assert error < 1.5 * plain_error


def device(platform: str, compute_capability: str = "") -> Any:
    return SimpleNamespace(platform=platform, compute_capability=compute_capability)


def test_kernels_are_chosen_by_device_and_precision() -> None:
    assert choose(device("cpu"), "float32") is choose(device("cpu"), "bf16") is BLOCKS
    assert choose(device("gpu", "7.5"), "float32") is choose(device("tpu"), "bf16") is PLAIN
    assert choose(device("gpu", "8.0"), "bf16") is choose(device("gpu", "12.0"), "float32") is FLASH
    with jax.default_matmul_precision("highest"):
        assert choose(device("gpu", "9.0"), "float32") is PLAIN
        assert choose(device("gpu", "9.0"), "bf16") is FLASH


def relative_error(found: jax.Array, wanted: jax.Array) -> float:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    found, wanted = found.astype(jnp.float32), wanted.astype(jnp.float32)
    return float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))


def normed_positions() -> tuple[jax.Array, jax.Array]:
    """Positions with a mean square of 1, as a channel norm leaves them, and a kernel with scores far from zero."""
    x = normal(0, 2, 48, 6)
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True)), 3 * normal(1, 6, 8)


@pytest.mark.parametrize("at_once", [6, 16, 48])
@pytest.mark.parametrize("size", [1.0, 1e-9])
def test_positions_are_pooled_by_flash_attention_too(
    at_once: int, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By 8 or 3 blocks of unequal shares, and by one. Gradients below float16's range come through."""
    monkeypatch.setattr(flash, "_kernel", kernel_in(jnp.float16))
    monkeypatch.setattr(flash, "POSITIONS_AT_ONCE", at_once)
    inputs = normed_positions()

    @partial(jax.jit, static_argnums=0)
    def both(form: Callable[..., jax.Array], *inputs: jax.Array) -> list[jax.Array]:
        loss = jax.grad(lambda *inputs: size * jnp.sum(jnp.sin(form(*inputs))), argnums=(0, 1))
        return [form(*inputs), *loss(*inputs)]

    found, wanted = both(flash.softmax_pool, *inputs), both(plain.softmax_pool, *inputs)
    assert max(map(relative_error, found, wanted)) < 2e-3


def test_half_precision_pools_as_nearly_by_flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "_kernel", kernel_in(jnp.bfloat16))
    monkeypatch.setattr(flash, "POSITIONS_AT_ONCE", 6)
    inputs = normed_positions()
    exact = with_gradients(plain.softmax_pool, *inputs)
    halves = [part.astype(jnp.bfloat16) for part in inputs]
    found, usual = with_gradients(flash.softmax_pool, *halves), with_gradients(plain.softmax_pool, *halves)
    assert [part.dtype for part in found] == [part.dtype for part in usual]
    for a, b, c in zip(found, usual, exact, strict=True):
        assert 1e-4 < relative_error(a.astype(c.dtype), c) < 1.5 * relative_error(b.astype(c.dtype), c)


def test_gradients_of_one_position_cannot_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all keys have their softmax at one position, the gradients of all that they read add up there."""
    monkeypatch.setattr(flash, "_kernel", kernel_in(jnp.float16))
    x, _ = normed_positions()
    kernel = jnp.repeat(20 * x[0, 7, :, None], 8, axis=1)
    found, wanted = (
        jax.grad(lambda x, form=form: jnp.sum(form(x, kernel)))(x) for form in (flash.softmax_pool, plain.softmax_pool)
    )
    assert float(wanted[0, 7].min()) > 7
    assert relative_error(found, wanted) < 2e-3


def test_maps_too_wide_for_the_flash_kernel_are_pooled_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "WIDEST", 5)
    inputs = normed_positions()
    assert_close(flash.softmax_pool(*inputs), plain.softmax_pool(*inputs))


@pytest.mark.parametrize("width", [8, 12, 136])
def test_float32_goes_through_float16_and_loses_what_tf32_loses(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients as small as those of a mean over many pixels come through: 1e-9 is below float16's range."""
    monkeypatch.setattr(flash, "_kernel", kernel_in(jnp.float16))
    q, k, v = (normal(seed, 2, 24, 2, width) for seed in range(3))

    def loss(attend: Callable[..., jax.Array], *parts: jax.Array) -> jax.Array:
        return 1e-9 * jnp.sum(jnp.sin(attend(*parts)))

    @jax.jit
    def both(q: jax.Array, k: jax.Array, v: jax.Array) -> list[list[jax.Array]]:
        return [
            [form(q, k, v), *jax.grad(partial(loss, form), argnums=(0, 1, 2))(q, k, v)]
            for form in (flash.attention, plain.softmax_attention)
        ]

    found, wanted = both(q, k, v)
    for a, b in zip(found, wanted, strict=True):
        assert relative_error(a, b) < (1e-3 if width <= flash.WIDEST else 1e-6)


def test_no_gradient_stays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "_kernel", kernel_in(jnp.float16))
    q, k, v = (normal(seed, 1, 16, 1, 8) for seed in range(3))
    _, pull = jax.vjp(flash.attention, q, k, v)
    assert all(bool(jnp.all(part == 0)) for part in pull(jnp.zeros_like(q)))


def test_half_precision_attention_on_a_gpu_is_cudnn_s(cudnn: None) -> None:
    """Lowered for CUDA on this machine, which shows the kernels that a GPU would be asked to run."""
    chosen = choose(device("gpu", "9.0"), "bf16")
    graph, state = nnx.split(attention.FullAttention(16, 2, 8, Compute(chosen, jnp.bfloat16)))
    x = jax.ShapeDtypeStruct((2, 8, 8, 16), jnp.bfloat16)

    def loss(state: nnx.State, x: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graph, state)(x).astype(jnp.float32))

    text = jax.jit(jax.grad(loss)).trace(state, x).lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaSoftmax" in text and "__cudnn$fmhaSoftmaxBackward" in text
