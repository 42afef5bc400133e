"""The training state: all that a step changes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from flowseg.config import Config
from flowseg.models.network import Params
from flowseg.models.vector import Layout
from flowseg.training.optim import optimizer, plateau


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """A checkpoint holds it whole."""

    step: Int[Array, ""]
    """Steps taken, which is also the position in the data."""
    params: Float[Array, " p"]
    """All parameters in one vector (flowseg.models.vector)."""
    ema: Float[Array, " p"]
    """Their exponential moving average."""
    opt: optax.OptState
    gradient: Float[Array, " p"] | None
    """The gradient accumulated since the last update; None without accumulation."""
    plateau: optax.OptState
    updates: Int[Array, ""]
    """Updates of the parameters (one every `accumulate` steps)."""
    skipped: Int[Array, ""]
    """Steps whose loss or gradient was not finite."""
    bad_run: Int[Array, ""]
    """Length of the current run of such steps."""


def init_state(config: Config, params: Params, total_steps: int) -> TrainState:
    """Returns the state before the first step."""

    def zero() -> Array:
        return jnp.zeros((), jnp.int32)

    layout = Layout(params)
    vector = jnp.asarray(layout.ravel_host(params))
    return TrainState(
        step=zero(),
        params=vector,
        # A copy: the step donates its argument, and one buffer cannot be donated twice.
        ema=jnp.copy(vector),
        opt=optimizer(config.optim, total_steps, layout).init(vector),
        gradient=jnp.zeros_like(vector) if config.optim.accumulate > 1 else None,
        plateau=plateau(config.optim).init(vector),
        updates=zero(),
        skipped=zero(),
        bad_run=zero(),
    )
