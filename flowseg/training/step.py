"""One training step: a pure function per device, and the two ways to spread it over devices.

Every example draws its noise from its own key (seed, step, place in the whole batch), so the numbers do not
depend on how many devices share the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, UInt32

from flowseg.config import Config, check_batch
from flowseg.errors import UserError
from flowseg.flow.losses import velocity_loss
from flowseg.flow.paths import estimate_of, gaussian_path
from flowseg.models.kernels import choose
from flowseg.models.network import Network, Params, abstract_params
from flowseg.models.vector import Layout
from flowseg.training.optim import learning_rate, optimizer, plateau
from flowseg.training.traces import Program

AXIS = "devices"
# Streams of the seed tree; folded in before the step.
NOISE_STREAM = 1

Batch = dict[str, Any]
Metrics = dict[str, Float[Array, ""]]
METRICS = ("loss", "grad_norm", "lr", "skipped", "bad_run")


def on_cpu() -> bool:
    """Whether programs are made for CPUs."""
    return jax.default_backend() == "cpu"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that a step changes. A checkpoint holds it whole."""

    step: Int[Array, ""]
    """Steps taken, which is also the position in the data."""
    params: Float[Array, " p"]
    """All parameters in one vector (models.vector)."""
    ema: Float[Array, " p"]
    """Their exponential moving average."""
    opt: optax.OptState
    gradient: Float[Array, " p"] | None
    """What the steps since the last update add to its gradient; None without accumulation."""
    plateau: optax.OptState
    updates: Int[Array, ""]
    """Updates of the parameters (one every `accumulate` steps)."""
    skipped: Int[Array, ""]
    """Steps whose loss or gradient was not finite."""
    bad_run: Int[Array, ""]
    """How many of those came last in a row."""


def init_state(config: Config, params: Params, total_steps: int) -> TrainState:
    """The state before the first step."""

    def zero() -> Array:
        return jnp.zeros((), jnp.int32)

    vector = jnp.asarray(Layout(params).ravel_host(params))
    return TrainState(
        step=zero(),
        params=vector,
        # A copy: the step donates its argument, and one buffer cannot be donated twice.
        ema=jnp.copy(vector),
        opt=optimizer(config.optim, total_steps).init(vector),
        gradient=jnp.zeros_like(vector) if config.optim.accumulate > 1 else None,
        plateau=plateau(config.optim).init(vector),
        updates=zero(),
        skipped=zero(),
        bad_run=zero(),
    )


def microbatch(config: Config, local: int) -> int:
    """How many of a device's `local` examples a step takes at a time: `train.microbatch`, or what suits the device.

    On a CPU one: the maps of one example stay nearer to its caches, and memory does not grow with the batch.
    """
    size = config.train.microbatch or (1 if jax.default_backend() == "cpu" else local)
    if local % size:
        raise UserError(
            f"train.microbatch = {size}: does not divide the {local} crops of a device (train.batch = "
            f"{config.train.batch}); choose a divisor"
        )
    return size


# The last argument is the data of the key that all randomness comes from.
Step = Callable[[TrainState, Batch, UInt32[Array, "2"]], tuple[TrainState, Metrics]]


def make_step(config: Config, total_steps: int) -> Step:
    """The per-device step; it runs inside a mapped axis called `devices`.

    A batch holds this device's share: image and target (b, H, W, 1), with FiLM also embedding (b, E); float32.
    The root of the randomness is an argument, so that runs that differ in their seed share one program. The metrics
    are means over the whole batch. A step whose loss or gradient is not finite changes nothing but the counters.
    """
    network = Network(config, choose(jax.default_backend(), config.precision), estimate_of)
    layout = Layout(abstract_params(config))
    transformation = optimizer(config.optim, total_steps)
    rate = learning_rate(config.optim, max(total_steps // config.optim.accumulate, 1))

    def loss_fn(params: Params, batch: Batch, keys: Array) -> Float[Array, ""]:
        x_t, t, u = jax.vmap(gaussian_path, (0, 0, None, None))(
            keys, batch["target"], config.flow.sigma, config.flow.time_power
        )
        return velocity_loss(network.apply(params, x_t, t, batch["image"], batch.get("embedding")), u)

    def gradients(params: Float[Array, " p"], batch: Batch, keys: Array) -> tuple[Array, Array]:
        """Mean loss and gradient of this device's share, `microbatch` examples at a time."""

        def of_part(batch: Batch, keys: Array) -> tuple[Array, Array]:
            loss, grads = jax.value_and_grad(loss_fn)(layout.unravel(params), batch, keys)
            return loss, layout.ravel(grads)

        parts = keys.shape[0] // microbatch(config, keys.shape[0])
        if parts == 1:
            return of_part(batch, keys)
        split = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), (batch, keys))
        total, _ = jax.lax.scan(
            lambda total, part: (jax.tree.map(jnp.add, total, of_part(*part)), None),
            (jnp.zeros(()), jnp.zeros_like(params)),
            split,
        )
        return total[0] / parts, total[1] / parts

    def skip(state: TrainState, grads: Float[Array, " p"]) -> TrainState:
        return replace(state, skipped=state.skipped + 1, bad_run=state.bad_run + 1)

    def collect(state: TrainState, grads: Float[Array, " p"]) -> TrainState:
        assert state.gradient is not None
        gradient = state.gradient + grads / config.optim.accumulate
        return replace(state, gradient=gradient, bad_run=jnp.zeros_like(state.bad_run))

    def apply(state: TrainState, grads: Float[Array, " p"]) -> TrainState:
        if state.gradient is not None:
            grads = state.gradient + grads / config.optim.accumulate
            state = replace(state, gradient=jnp.zeros_like(grads))
        updates, opt = transformation.update(grads, state.opt, state.params)
        # AdamW's update is proportional to its rate, decay included: scaling it is scaling the rate.
        params = state.params + updates * state.plateau.scale
        count = state.updates + 1
        decay = jnp.minimum(config.optim.ema_decay, (1.0 + count) / (10.0 + count))
        return replace(
            state,
            params=params,
            ema=decay * state.ema + (1 - decay) * params,
            opt=opt,
            updates=count,
            bad_run=jnp.zeros_like(state.bad_run),
        )

    def step(state: TrainState, batch: Batch, root: UInt32[Array, "2"]) -> tuple[TrainState, Metrics]:
        local = batch["image"].shape[0]
        places = jax.lax.axis_index(AXIS) * local + jnp.arange(local)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(root), NOISE_STREAM), state.step)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
        loss, grads = jax.lax.pmean(gradients(state.params, batch, keys), AXIS)
        norm = optax.global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        lr = rate(state.updates) * state.plateau.scale
        if config.optim.accumulate == 1:
            state = jax.lax.cond(finite, apply, skip, state, grads)
        else:
            complete = (state.step + 1 - state.skipped) % config.optim.accumulate == 0
            outcome = jnp.where(finite, jnp.where(complete, 2, 1), 0)
            state = jax.lax.switch(outcome, (skip, collect, apply), state, grads)
        state = replace(state, step=state.step + 1)
        return state, dict(zip(METRICS, (loss, norm, lr, state.skipped, state.bad_run), strict=True))

    return step


class Driver(Protocol):
    """Spreads the step over devices. The state it is given is donated."""

    devices: int

    @property
    def traces(self) -> int:
        """How often the step was traced: once, not at all where its trace was kept, or something recompiles."""

    def place_state(self, state: TrainState) -> TrainState:
        """The state on every device."""

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One step on a whole batch of numpy arrays."""


class _Traced:
    """Counts how often a function is traced: once, or something recompiles."""

    def __init__(self, step: Step):
        self.step = step
        self.traces = 0

    def __call__(self, state: TrainState, batch: Batch, root: UInt32[Array, "2"]) -> tuple[TrainState, Metrics]:
        self.traces += 1
        return self.step(state, batch, root)


class _Base:
    _step: Step

    def __init__(self, config: Config, total_steps: int, devices: list[jax.Device]):
        self.devices = len(devices)
        self.mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,))
        self._traced = _Traced(make_step(config, total_steps))
        self._root = jax.device_put(jax.random.key_data(jax.random.key(config.seed)), NamedSharding(self.mesh, P()))
        alike = replace(config, name="any", seed=0, data=replace(config.data, root=None))
        self._identity = f"training step: {alike!r}, {total_steps} steps"
        self._program: Program | None = None

    @property
    def traces(self) -> int:
        again = self._program.lowered - 1 if self._program is not None else 0
        return self._traced.traces + max(again, 0)

    def place_state(self, state: TrainState) -> TrainState:
        # The sharding that the step's output has: with any other, the first donation is silently ignored.
        return jax.device_put(state, NamedSharding(self.mesh, P()))

    def _run(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """`_step`, on CPUs as a program whose trace may have been kept."""
        if not on_cpu():
            return self._step(state, batch, self._root)
        if self._program is None:
            everywhere, shared = NamedSharding(self.mesh, P()), NamedSharding(self.mesh, P(AXIS))
            self._program = Program(
                self._step,
                (state, batch, self._root),
                (state, dict.fromkeys(METRICS, 0)),
                identity=self._identity,
                donate=1,
                in_shardings=(everywhere, shared, everywhere),
                out_sharding=everywhere,
            )
        return self._program(state, batch, self._root)


class PmapDriver(_Base):
    """`jax.pmap` with an unstacked state: replicated in, replicated out."""

    def __init__(self, config: Config, total_steps: int, devices: list[jax.Device]):
        super().__init__(config, total_steps, devices)
        self._step = jax.pmap(
            self._traced, AXIS, in_axes=(None, 0, None), out_axes=None, devices=devices, donate_argnums=(0,)
        )

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self._run(state, {k: v.reshape(self.devices, -1, *v.shape[1:]) for k, v in batch.items()})


class JitDriver(_Base):
    """`jax.jit` of the same function, mapped over a mesh by `shard_map`."""

    def __init__(self, config: Config, total_steps: int, devices: list[jax.Device]):
        super().__init__(config, total_steps, devices)
        # check_vma off: with it on, differentiating by the replicated parameters already sums over devices, and
        # the pmean in the step would come on top.
        mapped = jax.shard_map(
            self._traced, mesh=self.mesh, in_specs=(P(), P(AXIS), P()), out_specs=P(), check_vma=False
        )
        self._step = jax.jit(mapped, donate_argnums=(0,))
        self._batch_sharding = NamedSharding(self.mesh, P(AXIS))

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return self._run(state, jax.device_put(batch, self._batch_sharding))


def chosen_devices(config: Config) -> list[jax.Device]:
    """The devices of a config; a UserError where there are too few, or the batch cannot be shared out evenly."""
    devices = jax.devices()
    wanted = config.devices or len(devices)
    if wanted > len(devices):
        raise UserError(f"devices = {wanted}: this machine has {len(devices)}; choose at most that many")
    check_batch(config.train.batch, wanted)
    microbatch(config, config.train.batch // wanted)
    return devices[:wanted]


def make_driver(config: Config, total_steps: int) -> Driver:
    """The driver that the config asks for, on its devices."""
    kind: type[PmapDriver] | type[JitDriver] = PmapDriver if config.parallel == "pmap" else JitDriver
    return kind(config, total_steps, chosen_devices(config))
