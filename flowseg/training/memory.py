"""How much device memory a training step takes, and how many examples at a time fit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax

from flowseg import hosts
from flowseg.config import Config
from flowseg.errors import UserError, counted
from flowseg.machine import check_memory, device_memory, machine_memory
from flowseg.models.network import abstract_params, count

# The parameters, two moments, the average, the gradient, and what the update makes of them: float32 each.
_BYTES_PER_PARAMETER = 4 * 8
_BYTES_PER_CHANNEL = {"bf16": 171.0, "float32": 350.0}
"""Of each of a map's pixels, times `model.dim`: from the peaks of two programs on an H200 (docs/performance.md)."""
_SHARE = 0.85
"""Of a device's memory that a step may be expected to fill: the rest is for what other shapes and versions need."""


def step_bytes(config: Config, examples: int) -> float:
    """Returns about how many bytes a training step takes on a GPU with `examples` of its crops at a time."""
    pixels = (config.data.crop / config.model.patch) ** 2
    if config.flow.family == "binary" and config.flow.consistency:
        # The term evaluates the network twice for up to two examples, while the main loss's maps are not held.
        examples = max(examples, 2 * min(2, examples))
    maps = examples * pixels * config.model.dim * _BYTES_PER_CHANNEL[config.precision]
    return _BYTES_PER_PARAMETER * count(abstract_params(config)) + maps


def microbatch(config: Config, device: jax.Device, local: int) -> int:
    """Returns how many of a device's `local` examples a step computes at a time.

    That is `train.microbatch`. By default a CPU takes one at a time: the maps of one example stay nearer to its
    caches, and memory does not grow with the batch. A GPU takes as many as fit its memory (`step_bytes`).
    """
    size = config.train.microbatch or (1 if device.platform == "cpu" else _fitting(config, device, local))
    if local % size:
        raise UserError(
            f"train.microbatch = {size}: does not divide the {local} crops of a device (train.batch = "
            f"{config.train.batch}); choose a divisor"
        )
    return size


def _fitting(config: Config, device: jax.Device, local: int) -> int:
    """Returns the largest divisor of `local` examples that is expected to fit; 1 if none is, and all if unknown."""
    limit = device_memory(device)
    if limit is None:
        return local
    divisors = [n for n in range(local, 0, -1) if local % n == 0]
    return next((n for n in divisors if step_bytes(config, n) <= _SHARE * limit), 1)


def check_fits(config: Config, devices: Sequence[jax.Device]) -> None:
    """Raises a UserError if a training step or its batch takes far more memory than there is.

    What might just fit is tried: `step_bytes` is an estimate, and `memory_told` says so if it does not.
    """
    device, local = hosts.own_devices(devices)[0], config.train.batch // len(devices)
    maps = 2 * 4 * config.train.batch * config.data.crop**2  # image and target, in the machine's memory
    check_memory(maps, f"train.batch = {config.train.batch}", "take fewer crops per step, or smaller ones")
    limit = machine_memory() if device.platform == "cpu" else device_memory(device)
    examples = microbatch(config, device, local)
    if limit is not None and (least := _least_bytes(config, examples)) > limit:
        raise _too_large("too little memory", config, device, examples, limit, f"at least {least / 1e9:,.0f} GB")


def _least_bytes(config: Config, examples: int) -> float:
    """Returns how many bytes a training step takes at least: half of the estimate, or the inputs of attention."""
    pixels = (config.data.crop / config.model.patch) ** 2
    attention = 3 * 4 * config.model.heads * config.model.head_dim * pixels  # of one example, at the finest level
    return max(step_bytes(config, examples) / 2, attention)


@contextmanager
def memory_told(config: Config, devices: Sequence[jax.Device]) -> Iterator[None]:
    """Turns a training step's lack of device memory into a UserError of one line."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        own, local = hosts.own_devices(devices)[0], config.train.batch // len(devices)
        at_once = microbatch(config, own, local)
        takes = f"about {step_bytes(config, at_once) / 1e9:.1f} GB"
        raise _too_large("out of memory", config, own, at_once, device_memory(own), takes) from None


def _too_large(
    what: str, config: Config, device: jax.Device, examples: int, limit: int | None, takes: str
) -> UserError:
    has = f" of {limit / 1e9:.1f} GB" if limit else ""
    fewer = max((n for n in range(1, examples) if examples % n == 0), default=None)
    remedy = f"set --train.microbatch {fewer}" if fewer else "lower --data.crop, --model.dim or --model.heads"
    return UserError(
        f"{what} on {device.device_kind}{has}: a step with {counted(examples, 'crop')} of {config.data.crop}x"
        f"{config.data.crop} at a time (train.batch = {config.train.batch}) takes {takes}; {remedy}"
    )
