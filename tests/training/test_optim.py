"""Clipping is what optax does, without its branch."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowseg.training.optim import _clip_by_global_norm


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 50.0])
def test_clipping_agrees_with_optax(scale: float) -> None:
    grads = jnp.asarray(scale * np.random.default_rng(0).standard_normal(20, np.float32))
    ours, _ = _clip_by_global_norm(1.0).update(grads, optax.EmptyState())
    theirs, _ = optax.clip_by_global_norm(1.0).update(grads, optax.EmptyState())
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
