"""FiLM keeps its numbers when the network computes in half precision."""

import jax
import jax.numpy as jnp
import numpy as np

from flowseg.config import Config, DataConfig, FilmConfig, ModelConfig
from flowseg.models.film import modulate
from flowseg.models.kernels import PLAIN
from flowseg.models.network import Network, init_params

STEP = 2.0**-7
"""The distance from 1 to the next larger bfloat16."""
CONFIG = Config(
    model=ModelConfig(
        dim=8,
        multipliers=(1,),
        full_attention_levels=(),
        film=FilmConfig(stages=(0,), embedding_width=4),
    ),
    data=DataConfig(crop=16),
    precision="bf16",
)


def test_modulation_by_less_than_a_step_of_bfloat16_is_kept() -> None:
    params = init_params(CONFIG)
    params["film"]["heads"][0]["dense2"]["bias"][:] = 1.001 * STEP / 10
    ((gamma, beta),) = Network(CONFIG, PLAIN, lambda *args: args[0]).film(params, jnp.ones((1, 4)))
    np.testing.assert_allclose(gamma - 1, 1.001 * STEP / 10, rtol=1e-3)
    np.testing.assert_allclose(beta, 1.001 * STEP / 10, rtol=1e-6)


def test_a_modulated_map_is_rounded_once() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 8)).astype(jnp.bfloat16)
    gamma, beta = jnp.full((1, 8), 1 + STEP / 3), jnp.full((1, 8), STEP / 3)
    exact = (1 + STEP / 3) * np.asarray(x, np.float64) + STEP / 3
    for gate in (None, jnp.ones((1, 16, 16, 1))):
        found = modulate(x, (gamma, beta), gate)
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=STEP / 2 * 1.01)


def test_the_output_is_not_rounded_to_half_precision() -> None:
    apply = jax.jit(Network(CONFIG, PLAIN, lambda *args: args[0]).apply)
    out = apply(init_params(CONFIG), jnp.ones((1, 16, 16, 1)), jnp.zeros(1), jnp.zeros((1, 16, 16, 1)), None)
    assert out.dtype == jnp.float32
    assert np.mean(np.asarray(out) != np.asarray(out.astype(jnp.bfloat16).astype(jnp.float32))) > 0.5
