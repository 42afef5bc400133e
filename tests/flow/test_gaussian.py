"""The probability path: exact identities at sigma 0, moments of its noise otherwise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from flowseg.config import EvalConfig, FlowConfig
from flowseg.flow import training_times
from flowseg.flow.gaussian import Family, velocity_loss
from flowseg.flow.gaussian import path as gaussian_path

KEYS = jax.random.split(jax.random.key(7), 512)
MASK = jnp.where(jax.random.uniform(jax.random.key(1), (32, 32, 1)) > 0.8, 1.0, -1.0)


def draws(sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x_t, t and u of 512 draws for one mask."""
    x_t, t, u = jax.vmap(partial(gaussian_path, x1=MASK, config=FlowConfig(sigma=sigma)))(KEYS)
    return np.asarray(x_t), np.asarray(t)[:, None, None, None], np.asarray(u)


@pytest.fixture(scope="module")
def straight() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draws(0.0)


def test_shapes_and_types() -> None:
    x_t, t, u = gaussian_path(KEYS[0], MASK, FlowConfig())
    assert x_t.shape == u.shape == MASK.shape and t.shape == ()
    assert x_t.dtype == t.dtype == u.dtype == jnp.float32


def test_without_noise_the_path_is_the_line_from_x0_to_x1(straight: tuple[np.ndarray, ...]) -> None:
    x_t, t, u = straight
    x0 = np.asarray(MASK) - u
    np.testing.assert_allclose(x_t - t * u, x0, atol=1e-5)
    np.testing.assert_allclose(x_t + (1 - t) * u, np.broadcast_to(MASK, x_t.shape), atol=1e-5)


def test_the_source_is_standard_normal(straight: tuple[np.ndarray, ...]) -> None:
    x0 = (np.asarray(MASK) - straight[2]).ravel()
    assert abs(x0.mean()) < 0.01 and abs(x0.std() - 1) < 0.01
    assert stats.kstest(x0[::8], "norm").statistic < 0.01
    columns = x0.reshape(len(KEYS), -1)
    assert abs(np.corrcoef(columns[:, 0], columns[:, 1])[0, 1]) < 0.2  # pixels are independent
    assert len(np.unique(columns[:, 0])) == len(KEYS)  # and so are keys


def test_times_are_uniform(straight: tuple[np.ndarray, ...]) -> None:
    t = straight[1].ravel()
    assert 0 <= t.min() < 0.02 and 0.98 < t.max() <= 1
    assert stats.kstest(t, "uniform").statistic < 0.08


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_a_power_bends_the_times_and_nothing_else(straight: tuple[np.ndarray, ...], power: float) -> None:
    path = partial(gaussian_path, x1=MASK, config=FlowConfig(sigma=0.0, time_power=power))
    x_t, t, u = (np.asarray(part) for part in jax.vmap(path)(KEYS))
    np.testing.assert_allclose(t, straight[1].ravel() ** power, rtol=1e-5)
    np.testing.assert_array_equal(u, straight[2])
    np.testing.assert_allclose(x_t + (1 - t[:, None, None, None]) * u, np.broadcast_to(MASK, u.shape), atol=1e-5)


def test_a_share_of_the_times_is_zero_and_the_others_are_as_without_it() -> None:
    uniform = jnp.linspace(0, 1, 1001)[:-1]
    times = np.asarray(training_times(uniform, FlowConfig(time_power=2.0, time_zero=0.4)))
    assert (times == 0).mean() == pytest.approx(0.4, abs=0.002)
    later = times[times > 0]
    np.testing.assert_allclose(later, np.linspace(0, 1, len(later) + 1)[:-1] ** 2, atol=0.004)
    np.testing.assert_array_equal(training_times(uniform, FlowConfig()), uniform)


def test_a_part_of_the_noise_is_left_by_a_perfect_network() -> None:
    """What the docstring of `path` says: with sigma > 0 the published velocity is not quite the path's."""
    sigma, noise = 0.25, jax.random.normal(jax.random.key(3), (1, 8, 8, 1))
    mask = MASK[None, :8, :8]

    def perfect(x: jax.Array, t: jax.Array) -> jax.Array:
        t = t[:, None, None, None]
        return mask - (x - t * mask) / (1 - t + sigma**2 * t)  # the mean of x1 - x0 given x_t

    settings = EvalConfig(sampler="rk4", steps=64)
    found, _ = Family(FlowConfig(family="gaussian", sigma=sigma)).sample(perfect, noise, settings)
    left = sigma ** (2 / (1 - sigma**2))
    np.testing.assert_allclose(found, np.clip((mask + left * noise + 1) / 2, 0, 1), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_the_width_is_a_brownian_bridge_s(straight: tuple[np.ndarray, ...], sigma: float) -> None:
    x_t, t, u = draws(sigma)
    np.testing.assert_array_equal(t, straight[1])
    np.testing.assert_array_equal(u, straight[2])  # the velocity to predict knows nothing of the noise
    noise = x_t - straight[0]
    variance = noise.var(axis=(1, 2, 3))
    expected = sigma**2 * (t * (1 - t) + 1e-8).ravel()
    # 1024 pixels each: the estimate scatters by 4.4 %.
    inside = expected > 1e-3 * sigma**2
    np.testing.assert_allclose(variance[inside], expected[inside], rtol=0.2)
    assert (variance[inside] / expected[inside]).mean() == pytest.approx(1, abs=0.01)
    scaled = noise / np.sqrt(sigma**2 * (t * (1 - t) + 1e-8))
    assert abs(scaled[inside].mean()) < 0.01
    x0 = np.asarray(MASK) - u
    assert abs(np.corrcoef(scaled[inside].ravel(), x0[inside].ravel())[0, 1]) < 0.01


def test_a_path_is_a_function_of_its_key() -> None:
    first, again, other = (gaussian_path(key, MASK, FlowConfig()) for key in (KEYS[0], KEYS[0], KEYS[1]))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_the_loss_is_the_mean_square() -> None:
    v, u = np.random.default_rng(0).standard_normal((2, 3, 8, 8, 1)).astype(np.float32)
    assert velocity_loss(jnp.asarray(v), jnp.asarray(u)) == pytest.approx(np.mean((v - u) ** 2), rel=1e-6)
    assert velocity_loss(jnp.asarray(u), jnp.asarray(u)) == 0
