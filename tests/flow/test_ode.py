"""Samplers: their order of convergence on an equation with a known solution, and their count of evaluations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from flowseg.config import Sampler
from flowseg.flow.ode import integrate

# Slopes are measured in float64. Powers of two: then the times, which are float32, are exact.
STEPS = (16, 32, 64)
FIXED = {"euler": (1, 1), "heun": (2, 2), "midpoint": (2, 2), "rk4": (4, 4)}
"""Order, and evaluations per step."""


def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
    """dx/dt = x^2 cos t: not linear, and it depends on time."""
    return x * x * jnp.cos(t.astype(x.dtype))


def start() -> jax.Array:
    return jnp.linspace(-0.5, 0.5, 24).reshape(2, 3, 4, 1)


def solution(x0: np.ndarray) -> np.ndarray:
    """x(1) = 1 / (1/x0 - sin 1)."""
    return x0 / (1 - x0 * np.sin(1.0))


def error(sampler: Sampler, *, steps: int = 8, tolerance: float = 1e-4) -> float:
    x0 = start()
    found, _ = integrate(velocity, x0, sampler=sampler, steps=steps, tolerance=tolerance)
    assert found.shape == x0.shape and found.dtype == x0.dtype
    return float(np.abs(np.asarray(found) - solution(np.asarray(x0))).max())


@pytest.mark.parametrize("sampler", FIXED)
def test_order_of_convergence(sampler: Sampler) -> None:
    with jax.enable_x64(True):
        errors = [error(sampler, steps=steps) for steps in STEPS]
    slopes = -np.diff(np.log2(errors))
    assert slopes == pytest.approx(FIXED[sampler][0], abs=0.1)


def test_more_evaluations_buy_accuracy() -> None:
    """At sixteen evaluations a higher order is better on a smooth equation."""
    with jax.enable_x64(True):
        errors = [
            error("euler", steps=16),
            error("heun", steps=8),
            error("midpoint", steps=8),
            error("rk4", steps=4),
        ]
    assert errors[0] > 3 * max(errors[1:3]) and min(errors[1:3]) > 3 * errors[3]


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-5])
def test_dopri5_meets_its_tolerance(tolerance: float) -> None:
    assert error("dopri5", tolerance=tolerance) < 50 * tolerance


def test_dopri5_works_harder_for_a_smaller_tolerance() -> None:
    counts = [float(integrate(velocity, start(), sampler="dopri5", tolerance=t)[1]) for t in (1e-3, 1e-6)]
    assert counts[0] < counts[1]


def test_a_tolerance_out_of_reach_is_not_taken_for_a_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowseg.flow.ode._MAX_ADAPTIVE_STEPS", 2)
    found, _ = integrate(velocity, start(), sampler="dopri5", tolerance=1e-6)
    assert bool(jnp.isnan(found).all())


@pytest.mark.parametrize("sampler", [*FIXED, "dopri5"])
def test_float32_stays_float32(sampler: Sampler) -> None:
    assert start().dtype == jnp.float32
    assert error(sampler, steps=64) < (0.02 if sampler == "euler" else 1e-3)


@pytest.mark.parametrize("sampler", [*FIXED, "dopri5"])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_straight_path_needs_one_step(sampler: Sampler, steps: int) -> None:
    """Where the velocity is constant, as on the paths of a trained rectified flow, every sampler is exact."""
    x0 = start()
    x1 = jnp.cos(x0)
    found, _ = integrate(lambda x, t: x1 - x0, x0, sampler=sampler, steps=steps)
    np.testing.assert_allclose(found, x1, atol=2e-6)


@pytest.mark.parametrize(("sampler", "steps"), [*((s, n) for s in FIXED for n in (1, 3)), ("dopri5", 1)])
def test_nfe_is_the_number_of_evaluations(sampler: Sampler, steps: int) -> None:
    times: list[float] = []

    def counted(x: jax.Array, t: jax.Array) -> jax.Array:
        io_callback(lambda t: times.append(float(t)), None, t)
        return velocity(x, t)

    _, nfe = jax.jit(lambda x: integrate(counted, x, sampler=sampler, steps=steps))(start())
    jax.effects_barrier()
    assert all(0 <= t <= 1 for t in times)
    assert float(nfe) == len(times)
    if sampler in FIXED:
        assert len(times) == FIXED[sampler][1] * steps


def test_times_run_from_zero_to_one() -> None:
    """x(1) of dx/dt = 2t is 1 for the rules that integrate lines exactly; Euler, left-sided, gives 1 - 1/n."""
    for sampler in FIXED:
        found, _ = integrate(lambda x, t: jnp.full_like(x, 2 * t), jnp.zeros((1, 1, 1, 1)), sampler=sampler, steps=4)
        assert found.item() == pytest.approx(0.75 if sampler == "euler" else 1.0, abs=1e-6)


@pytest.mark.parametrize("sampler", FIXED)
def test_examples_of_a_batch_do_not_meet(sampler: Sampler) -> None:
    x0 = start()
    whole, _ = integrate(velocity, x0, sampler=sampler)
    alone, _ = integrate(velocity, x0[:1], sampler=sampler)
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-6)
