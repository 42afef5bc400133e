"""GroupNorm against its formula, written out: values, gradients, and maps whose mean is large."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import Array

from flowseg.models.group_norm import GROUPS, GroupNorm


def normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def layer_of(gain: Array, bias: Array) -> GroupNorm:
    layer = GroupNorm(len(gain))
    layer.gain, layer.bias = nnx.Param(gain), nnx.Param(bias)
    return layer


def formula(x: Array, offset: Array, gain: Array, bias: Array, scale: Array, shift: Array) -> Array:
    """Wu and He 2018 on x + offset, then times 1 + scale plus shift."""
    x = x + offset
    groups = x.reshape(*x.shape[:3], GROUPS, -1)
    mean, variance = (f(groups, (1, 2, 4), keepdims=True) for f in (jnp.mean, jnp.var))
    normed = ((groups - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape) * gain + bias
    return normed * (1 + scale)[:, None, None] + shift[:, None, None]


def with_gradients(function: Any, *arguments: Array) -> list[Array]:
    """The value, and the gradient of a random projection of it for every argument, as one program."""

    @jax.jit
    def both(*arguments: Array) -> list[Array]:
        value, pull = jax.vjp(function, *arguments)
        return [value, *pull(normal(99, *value.shape))]

    return both(*arguments)


@pytest.mark.parametrize("channels", [8, 24])
def test_values_and_gradients_are_the_formula_s(channels: int) -> None:
    x = normal(0, 2, 5, 6, channels) * normal(1, channels) + normal(2, channels)
    inputs = (x, *(normal(seed, channels) for seed in (3, 4, 5)), normal(6, 2, channels), normal(7, 2, channels))

    def layer(x: Array, offset: Array, gain: Array, bias: Array, scale: Array, shift: Array) -> Array:
        return layer_of(gain, bias)(x, offset, scale, shift)

    ours = with_gradients(layer, *inputs)
    names = ("value", "x", "offset", "gain", "bias", "scale", "shift")
    for name, found, wanted in zip(names, ours, with_gradients(formula, *inputs), strict=True):
        # A group of one channel takes the offset away again: its gradient is rounding about zero.
        largest = 10.0 if name == "offset" and channels == GROUPS else float(jnp.abs(wanted).max())
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * largest, err_msg=name)


def test_without_scale_and_shift() -> None:
    x, offset, gain, bias = normal(0, 2, 5, 6, 24), *(normal(seed, 24) for seed in (1, 2, 3))
    nothing = jnp.zeros((2, 24))
    found, wanted = layer_of(gain, bias)(x, offset), formula(x, offset, gain, bias, nothing, nothing)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_mean_of_a_thousand_deviations_leaves_the_variance() -> None:
    """A float32 of 1000 is exact to 6e-5; with sums of squares about zero the variance would be off by 6 %."""
    x = 1000 + normal(0, 1, 32, 32, 8)
    plain = jnp.mean(x * x, axis=(1, 2)) - jnp.square(jnp.mean(x, axis=(1, 2)))
    exact = jnp.asarray(np.var(np.asarray(x, np.float64), axis=(1, 2)))
    assert float(jnp.abs(plain / exact - 1).max()) > 1e-3
    normed = layer_of(jnp.ones(8), jnp.zeros(8))(x, jnp.zeros(8))
    np.testing.assert_allclose(jnp.var(normed, axis=(1, 2)), 1.0, rtol=1e-4)


def test_a_constant_map_becomes_zero() -> None:
    """Rounding must not leave a variance below zero, whose root is not a number."""
    x = jnp.full((1, 7, 7, 8), 0.1) * normal(0, 8)
    np.testing.assert_allclose(layer_of(jnp.ones(8), jnp.zeros(8))(x, normal(1, 8)), 0.0, atol=1e-3)
