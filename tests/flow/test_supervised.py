"""The supervised family: the network is asked once, at t = 0 without a state, in training and in use."""

import jax
import jax.numpy as jnp
import numpy as np

from flowseg.config import EvalConfig, FlowConfig
from flowseg.flow import Draw, Maps, make_flow
from flowseg.flow.binary import mask_loss

MASK = (jax.random.uniform(jax.random.key(1), (2, 8, 8, 1)) > 0.8).astype(jnp.float32)
FAMILY = make_flow(FlowConfig("supervised"))


def logits(x: Maps, t: jax.Array) -> Maps:
    assert t.shape == (len(x),)
    np.testing.assert_array_equal(x, 0)
    np.testing.assert_array_equal(t, 0)
    return 3 * MASK - 1


def test_the_loss_is_that_of_the_logits() -> None:
    draw = Draw(jax.random.key(0), jnp.arange(2), 2)
    np.testing.assert_allclose(FAMILY.loss(logits, 2 * MASK - 1, draw), mask_loss(3 * MASK - 1, MASK), rtol=1e-6)


def test_the_probability_is_the_logits_by_one_evaluation() -> None:
    noise = FAMILY.noise(np.random.default_rng(0), (8, 8))
    start = jnp.broadcast_to(noise[None, ..., None], MASK.shape)
    probability, nfe = FAMILY.sample(logits, start, EvalConfig(steps=1))
    np.testing.assert_allclose(probability, jax.nn.sigmoid(3 * MASK - 1), rtol=1e-6)
    assert float(nfe) == 1
