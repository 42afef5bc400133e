"""The training step spread over devices: by `jax.pmap`, or by `jax.jit` over a mesh. Both give the same numbers.

The devices may belong to several processes (flowseg.hosts). Each then brings its own rows of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from flowseg import hosts
from flowseg.config import Config, check_batch
from flowseg.errors import UserError
from flowseg.flow import make_flow
from flowseg.machine import release_freed_memory
from flowseg.models import kernels
from flowseg.models.network import Network, abstract_params
from flowseg.models.vector import Layout
from flowseg.training.memory import microbatch
from flowseg.training.state import TrainState
from flowseg.training.step import AXIS, Batch, Step, make_step
from flowseg.training.traces import KeptTrace

Shapes = tuple[tuple[int, ...], ...]
"""The shapes of a batch's arrays."""


def by_pmap(step: Step, mesh: Mesh) -> tuple[jax.stages.Wrapped, Callable[[Batch], Batch]]:
    """Returns the step mapped by `jax.pmap`, with a state that is not stacked, and how a batch is cut for it."""
    devices = list(mesh.devices.flat)
    own = len(hosts.own_devices(devices))
    mapped = jax.pmap(step, AXIS, in_axes=(None, 0, None), out_axes=None, devices=devices, donate_argnums=(0,))
    return mapped, lambda batch: {k: v.reshape(own, -1, *v.shape[1:]) for k, v in batch.items()}


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
    size = microbatch(config, hosts.own_devices(devices)[0], config.train.batch // len(devices))
    return make_step(config, flow, network, Layout(abstract_params(config)), total_steps, size)


class Driver:
    """Runs the training step on the devices of a config. The state that it is given is donated."""

    def __init__(self, config: Config, total_steps: int, devices: list[jax.Device]):
        self.devices = devices
        self._traced = 0
        self._compiled: set[Shapes] = set()
        mesh = Mesh(np.asarray(devices), (AXIS,))
        self._replicated, self._shared = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
        self._own_shared = NamedSharding(Mesh(np.asarray(hosts.own_devices(devices)), (AXIS,)), P(AXIS))
        self._key = self._placed_key(config.seed)
        step = local_step(config, total_steps, devices)

        def counted(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Float[Array, " m"]]:
            self._traced += 1
            return step(state, batch, key if hosts.count() == 1 else jax.random.wrap_key_data(key))

        mapped, self._cut = MAPPINGS[config.parallel](counted, mesh)
        self._mapped = mapped
        self._kept: dict[Shapes, KeptTrace] = {}
        self._keep: Callable[[], KeptTrace] | None = None
        # A pmap of several processes cannot be exported: within another trace it sees its own devices only.
        if devices[0].platform == "cpu" and (hosts.count() == 1 or config.parallel == "jit"):
            # Runs that differ in these share a program.
            alike = replace(config, name="any", seed=0, data=replace(config.data, root=None))
            self._keep = partial(
                KeptTrace,
                mapped,
                identity=f"training step: {alike!r}, {total_steps} steps",
                result=lambda state, batch, key: (state, 0),
                donate=1,
                in_shardings=(self._replicated, self._shared, self._replicated),
                out_sharding=self._replicated,
            )

    @property
    def traces(self) -> int:
        """At most 1 for each size of crop; more means the step was recompiled. A trace that an earlier start has kept
        does not count."""
        return self._traced + sum(max(kept.lowered - 1, 0) for kept in self._kept.values())

    def place_state(self, state: TrainState) -> TrainState:
        """Returns the state on every device."""
        # The sharding of the step's output: with any other, the first donation is silently ignored.
        if hosts.count() == 1:
            return jax.device_put(state, self._replicated)
        return jax.tree.map(self._everywhere, state)

    def _everywhere(self, array: Array) -> Array:
        """Returns an array, which every process has, on the devices of all."""
        value = np.asarray(array)
        return jax.make_array_from_process_local_data(self._replicated, value, value.shape)

    def _placed_key(self, seed: int) -> Array:
        """Returns the key that all randomness of the training comes from, on every device.

        For several processes it is the key's data: a pmap of theirs would copy a key to the devices at every step.
        """
        if hosts.count() == 1:
            return jax.device_put(jax.random.key(seed), self._replicated)
        return self._everywhere(jax.random.key_data(jax.random.key(seed)))

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, " m"]]:
        """Takes one step on a batch of numpy arrays: a whole one, or this process's rows of it."""
        rows = jax.device_put(self._cut(batch), self._own_shared)
        shapes = tuple(array.shape for array in rows.values())
        step = self._step_for(shapes)
        if hosts.count() > 1:
            rows = {name: self._whole(array) for name, array in rows.items()}
        if shapes not in self._compiled:
            step.lower(state, rows, self._key).compile()  # kept where the call finds it
            release_freed_memory()
            # Before any process runs it: the first to run it waits for the others, but only 30 s.
            hosts.gather(None)
            self._compiled.add(shapes)
        return step(state, rows, self._key)

    def _step_for(self, shapes: Shapes) -> Any:
        """Returns the step for a batch of these shapes, on CPUs with its kept trace."""
        if self._keep is None:
            return self._mapped
        if shapes not in self._kept:
            self._kept[shapes] = self._keep()
        return self._kept[shapes]

    def _whole(self, rows: Array) -> Array:
        """Returns the array of all processes that these rows of this one are a part of."""
        shape = (rows.shape[0] * hosts.count(), *rows.shape[1:])
        parts = [shard.data for shard in rows.addressable_shards]
        return jax.make_array_from_single_device_arrays(shape, self._shared, parts)


def chosen_devices(config: Config) -> list[jax.Device]:
    """Returns the devices of a config.

    Raises:
        UserError: there are too few, or the batch cannot be divided evenly among them.
    """
    devices = jax.devices()
    wanted = config.devices or len(devices)
    if wanted > len(devices):
        where = "this machine has" if hosts.count() == 1 else f"the {hosts.count()} processes have"
        raise UserError(f"devices = {wanted}: {where} {len(devices)}; choose at most that many")
    if wanted % hosts.count():
        raise UserError(f"devices = {wanted}: cannot be divided among {hosts.count()} processes; choose a multiple")
    check_batch(config.train.batch, wanted)
    chosen = hosts.shared_out(devices, wanted)
    microbatch(config, hosts.own_devices(chosen)[0], config.train.batch // wanted)
    return chosen


def with_precision(config: Config) -> Config:
    """Returns the config with the precision that this machine's devices have, where it says `auto`."""
    if config.precision != "auto":
        return config
    return replace(config, precision="bf16" if kernels.has_half_precision(jax.devices()[0]) else "float32")


def make_driver(config: Config, total_steps: int) -> Driver:
    """Returns the driver that the config asks for, on its devices."""
    return Driver(config, total_steps, chosen_devices(config))
