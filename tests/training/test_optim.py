"""Schedules: what the learning rate does over a run. Clipping: as optax does it."""

import itertools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowseg.config import OptimConfig
from flowseg.training.optim import _clip_by_global_norm, learning_rate, plateau


def test_cosine_warms_up_and_ends_at_zero() -> None:
    rate = learning_rate(OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=10), 100)
    rates = [float(rate(i)) for i in range(101)]
    assert rates[0] == 0 and rates[100] == pytest.approx(0, abs=1e-9)
    assert max(rates) == pytest.approx(1e-3) and rates.index(max(rates)) == 10
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_constant_is_constant() -> None:
    rate = learning_rate(OptimConfig(lr=3e-4, schedule="constant"), 100)
    assert [float(rate(i)) for i in (0, 50, 100)] == pytest.approx([3e-4] * 3)


def test_plateau_halves_the_rate_only_after_patience_validations_without_progress() -> None:
    rule = plateau(replace(OptimConfig(), plateau_patience=3))
    state = rule.init({"a": jnp.zeros(2)})
    scales = []
    for dice in (0.5, 0.6, 0.6, 0.59, 0.6, 0.6, 0.7):
        _, state = rule.update({"a": jnp.zeros(2)}, state, value=1 - dice)
        scales.append(float(state.scale))
    assert scales[:4] == [1, 1, 1, 1]
    assert scales[4] == 0.5
    assert scales[6] == 0.5


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 50.0])
def test_clipping_agrees_with_optax(scale: float) -> None:
    grads = jnp.asarray(scale * np.random.default_rng(0).standard_normal(20, np.float32))
    ours, _ = _clip_by_global_norm(1.0).update(grads, optax.EmptyState())
    theirs, _ = optax.clip_by_global_norm(1.0).update(grads, optax.EmptyState())
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
