"""The training step and the sampler of a config, lowered for devices that may not exist, and counted once compiled."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from program_cost import Card, Kernel, kernels, totals
from program_text import read_program

from flowseg.config import Config
from flowseg.flow import make_flow
from flowseg.models.network import abstract_params, init_params
from flowseg.sampling.windows import WindowSampler
from flowseg.training.drivers import MAPPINGS, local_step
from flowseg.training.state import init_state
from flowseg.training.step import AXIS

STEPS = 1000


def for_one_device(
    config: Config, precision: Any, parallel: Any, size: int | None, batch: int | None, microbatch: int | None = None
) -> Config:
    """Returns a config for one device: maps of `size`, batches of `batch`, `microbatch` images at a time.

    The config's own size and batch stand where none is given, and a whole batch is computed at a time.
    """
    batch = batch or config.train.batch
    return replace(
        config,
        precision=precision,
        parallel=parallel,
        devices=1,
        data=replace(config.data, crop=size or config.data.crop),
        train=replace(config.train, batch=batch, microbatch=microbatch or batch),
    )


def counted(compiled: jax.stages.Compiled, card: Card) -> tuple[dict[str, Any], list[Kernel]]:
    """Returns the figures of a compiled program, its peak memory among them, and its kernels."""
    memory, text = compiled.memory_analysis(), compiled.as_text()
    assert memory is not None and text is not None
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    found = kernels(read_program(text), card)
    return {"peak_bytes": peak + memory.temp_size_in_bytes, **totals(found, card)}, found


def step_inputs(config: Config) -> tuple[Any, dict[str, np.ndarray], Any]:
    """Returns state, batch and key of a config's training step: shapes and dtypes count, not values."""
    state = jax.eval_shape(lambda: init_state(config, init_params(config), STEPS))
    crop, batch = config.data.crop, config.train.batch
    arrays = {name: np.zeros((batch, crop, crop, 1), np.float32) for name in ("image", "target")}
    if config.model.film.stages:
        arrays["embedding"] = np.zeros((batch, config.model.film.embedding_width), np.float32)
    return state, arrays, jax.eval_shape(lambda: jax.random.key(0))


def sampler_inputs(config: Config) -> list[Any]:
    """Returns the shapes and dtypes of what `WindowSampler.program` takes."""
    settings, crop, film = config.eval, config.data.crop, config.model.film
    maps = (settings.window_batch, crop, crop, 1)
    noise = make_flow(config.flow).noise(np.random.default_rng(0), (1, 1))
    return [
        abstract_params(config),
        jax.ShapeDtypeStruct((settings.ensemble, *maps), noise.dtype),
        jax.ShapeDtypeStruct(maps, jnp.float32),
        jax.ShapeDtypeStruct((maps[0], film.embedding_width), jnp.float32) if film.stages else None,
        jax.ShapeDtypeStruct((), jnp.int32),
    ]


def lower_step(config: Config, mesh: Mesh) -> jax.stages.Lowered:
    """Returns the training step of a config, lowered for the devices of a mesh."""
    replicated, shared = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    mapped, cut = MAPPINGS[config.parallel](local_step(config, STEPS, list(mesh.devices.flat)), mesh)
    state, batch, key = step_inputs(config)
    return mapped.lower(_placed(state, replicated), _placed(cut(batch), shared), _placed(key, replicated))


def lower_seeds(config: Config, mesh: Mesh, count: int) -> jax.stages.Lowered:
    """Returns one step of `count` trainings of a config side by side, lowered for the devices of a mesh."""
    step = jax.vmap(local_step(config, STEPS, list(mesh.devices.flat)))
    specs = P(), P(None, AXIS), P()
    mapped = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False), donate_argnums=0)
    stacked = jax.tree.map(lambda a: jax.ShapeDtypeStruct((count, *a.shape), a.dtype), step_inputs(config))
    return mapped.lower(*(_placed(a, NamedSharding(mesh, spec)) for a, spec in zip(stacked, specs, strict=True)))


def lower_sampler(config: Config, mesh: Mesh) -> jax.stages.Lowered:
    """Returns the sampler of one batch of windows, lowered for the first device of a mesh."""
    sampler = WindowSampler(config, [mesh.devices.flat[0]])
    return sampler.program.lower(*_placed(sampler_inputs(config), NamedSharding(mesh, P())))


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    """Returns the shapes of a tree of arrays as they lie on the devices."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def tiny(config: Config) -> Config:
    """Returns a config with the same parts in two levels on small maps, which compiles sooner.

    It leaves out the consistency term, which evaluates the same network twice more.
    """
    film = replace(config.model.film, stages=tuple(stage for stage in config.model.film.stages if stage < 2))
    return replace(
        config,
        flow=replace(config.flow, consistency=0.0),
        model=replace(config.model, dim=16, multipliers=(1, 2), heads=2, full_attention_levels=(1,), film=film),
        data=replace(config.data, crop=64),
        train=replace(config.train, batch=2),
        eval=replace(config.eval, window_batch=2),
    )
