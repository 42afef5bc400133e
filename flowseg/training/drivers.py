"""The training step spread over devices: by `jax.pmap`, or by `jax.jit` over a mesh. Both give the same numbers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from flowseg.config import Config, check_batch
from flowseg.errors import UserError
from flowseg.flow import make_flow
from flowseg.models import kernels
from flowseg.models.network import Network, abstract_params
from flowseg.models.vector import Layout
from flowseg.training.memory import microbatch
from flowseg.training.state import TrainState
from flowseg.training.step import AXIS, Batch, Step, make_step
from flowseg.training.traces import KeptTrace


def by_pmap(step: Step, mesh: Mesh) -> tuple[jax.stages.Wrapped, Callable[[Batch], Batch]]:
    """Returns the step mapped by `jax.pmap`, with a state that is not stacked, and how a batch is cut for it."""
    devices = list(mesh.devices.flat)
    mapped = jax.pmap(step, AXIS, in_axes=(None, 0, None), out_axes=None, devices=devices, donate_argnums=(0,))
    return mapped, lambda batch: {k: v.reshape(len(devices), -1, *v.shape[1:]) for k, v in batch.items()}


def by_jit(step: Step, mesh: Mesh) -> tuple[jax.stages.Wrapped, Callable[[Batch], Batch]]:
    """Returns the step mapped by `jax.shard_map` over the mesh, and a batch as it is.

    `check_vma` stays off: with it, the gradient by the replicated parameters is already summed over the devices, and
    the step's own mean would come on top.
    """
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(AXIS), P()), out_specs=P(), check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,)), lambda batch: batch


MAPPINGS = {"pmap": by_pmap, "jit": by_jit}
"""How each value of the config's `parallel` spreads a step over a mesh."""


def local_step(config: Config, total_steps: int, devices: Sequence[jax.Device]) -> Step:
    """Returns the training step of one of these devices. They may be abstract: nothing is put on them."""
    flow = make_flow(config.flow)
    network = Network(config, kernels.choose(devices[0], config.precision), flow.estimate)
    size = microbatch(config, devices[0], config.train.batch // len(devices))
    return make_step(config, flow, network, Layout(abstract_params(config)), total_steps, size)


class Driver:
    """Runs the training step on the devices of a config. The state that it is given is donated."""

    def __init__(self, config: Config, total_steps: int, devices: list[jax.Device]):
        self.devices = devices
        self._traced = 0
        mesh = Mesh(np.asarray(devices), (AXIS,))
        self._replicated, self._shared = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
        self._key = jax.device_put(jax.random.key(config.seed), self._replicated)
        step = local_step(config, total_steps, devices)

        def counted(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Float[Array, " m"]]:
            self._traced += 1
            return step(state, batch, key)

        mapped, self._cut = MAPPINGS[config.parallel](counted, mesh)
        self._step: Callable[..., Any] = mapped
        if devices[0].platform == "cpu":
            # Runs that differ in these share a program.
            alike = replace(config, name="any", seed=0, data=replace(config.data, root=None))
            self._step = KeptTrace(
                mapped,
                identity=f"training step: {alike!r}, {total_steps} steps",
                result=lambda state, batch, key: (state, 0),
                donate=1,
                in_shardings=(self._replicated, self._shared, self._replicated),
                out_sharding=self._replicated,
            )

    @property
    def traces(self) -> int:
        """At most 1; more means the step was recompiled. 0 if its trace was kept by an earlier start."""
        recompiled = self._step.lowered - 1 if isinstance(self._step, KeptTrace) else 0
        return self._traced + max(recompiled, 0)

    def place_state(self, state: TrainState) -> TrainState:
        """Returns the state on every device."""
        # The sharding of the step's output: with any other, the first donation is silently ignored.
        return jax.device_put(state, self._replicated)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, " m"]]:
        """Takes one step on a whole batch of numpy arrays."""
        return self._step(state, jax.device_put(self._cut(batch), self._shared), self._key)


def chosen_devices(config: Config) -> list[jax.Device]:
    """Returns the devices of a config.

    Raises:
        UserError: there are too few, or the batch cannot be divided evenly among them.
    """
    devices = jax.devices()
    wanted = config.devices or len(devices)
    if wanted > len(devices):
        raise UserError(f"devices = {wanted}: this machine has {len(devices)}; choose at most that many")
    check_batch(config.train.batch, wanted)
    microbatch(config, devices[0], config.train.batch // wanted)
    return devices[:wanted]


def with_precision(config: Config) -> Config:
    """Returns the config with the precision that this machine's devices have, where it says `auto`."""
    if config.precision != "auto":
        return config
    return replace(config, precision="bf16" if kernels.has_half_precision(jax.devices()[0]) else "float32")


def make_driver(config: Config, total_steps: int) -> Driver:
    """Returns the driver that the config asks for, on its devices."""
    return Driver(config, total_steps, chosen_devices(config))
