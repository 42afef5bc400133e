"""One training step: a pure function of state, batch and key, on one device of several.

Every example draws its noise from its own key (seed, step, place in the whole batch), so the numbers do not depend on
how many devices share the batch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from flowseg.config import Config
from flowseg.flow import Draw, Flow
from flowseg.models.network import Network, Params
from flowseg.models.vector import Layout
from flowseg.training.collective import mean_over
from flowseg.training.optim import learning_rate
from flowseg.training.state import TrainState
from flowseg.training.update import make_update

AXIS = "devices"
# Streams of the seed tree; folded in before the step.
NOISE_STREAM = 1

Batch = dict[str, Any]
METRICS = ("loss", "grad_norm", "lr", "skipped", "bad_run")
"""What a step measures, in the order in which it returns it: one array is read back instead of five. `lr` is that of
AdamW; Muon's is proportional to it."""

Step = Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Float[Array, " m"]]]


def loss_of(params: Params, flow: Flow, network: Network, batch: Batch, draw: Draw) -> Float[Array, ""]:
    """Returns the loss of a part of a batch; what is in it stands at `make_step`."""

    def predict(x: Float[Array, "b h w 1"], t: Float[Array, " b"]) -> Float[Array, "b h w 1"]:
        given = {name: array[: len(x)] for name, array in batch.items()}
        return network.apply(params, x, t, given["image"], given.get("embedding"))

    return flow.loss(predict, batch["target"], draw, batch.get("weight"))


def make_step(config: Config, flow: Flow, network: Network, layout: Layout, total_steps: int, microbatch: int) -> Step:
    """Returns the per-device step, to be run inside a mapped axis called `AXIS`.

    A batch holds this device's share: image and target (b, H, W, 1), for data with fields of view weight (b, H, W, 1),
    and for a network with FiLM embedding (b, E); all float32. The key is the root of all randomness of the run. The
    metrics (`METRICS`) are means over the whole batch. A step whose loss or gradient is not finite changes nothing but
    the counters.

    Args:
        microbatch: how many of a device's examples are computed at a time; it divides their number.
    """
    update = make_update(config.optim, total_steps, layout)
    rate = learning_rate(config.optim, max(total_steps // config.optim.accumulate, 1))

    def gradients(
        params: Float[Array, " p"], batch: Batch, key: PRNGKeyArray, places: Int[Array, " b"]
    ) -> tuple[Array, Array]:
        """Mean loss and gradient of this device's share, `microbatch` examples at a time."""

        def of_part(batch: Batch, places: Int[Array, " b"]) -> tuple[Array, Array]:
            draw = Draw(key, places, config.train.batch)
            loss, grads = jax.value_and_grad(loss_of)(layout.unravel(params), flow, network, batch, draw)
            return loss, layout.ravel(grads)

        parts = len(places) // microbatch
        if parts == 1:
            return of_part(batch, places)
        split = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), (batch, places))
        total, _ = jax.lax.scan(
            lambda total, part: (jax.tree.map(jnp.add, total, of_part(*part)), None),
            (jnp.zeros(()), jnp.zeros_like(params)),
            split,
        )
        return total[0] / parts, total[1] / parts

    def step(state: TrainState, batch: Batch, key: PRNGKeyArray) -> tuple[TrainState, Float[Array, " m"]]:
        local = batch["image"].shape[0]
        places = jax.lax.axis_index(AXIS) * local + jnp.arange(local)
        key = jax.random.fold_in(jax.random.fold_in(key, NOISE_STREAM), state.step)
        loss, grads = mean_over(AXIS, *gradients(state.params, batch, key, places))
        norm = optax.global_norm(grads)
        lr = rate(state.updates) * state.plateau.scale
        state = update(state, grads, jnp.isfinite(loss) & jnp.isfinite(norm))
        metrics = jnp.stack([loss, norm, lr, state.skipped, state.bad_run])
        return replace(state, step=state.step + 1), metrics

    return step
