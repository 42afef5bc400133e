"""What a GPU would be asked to run, seen on any machine: step and sampler of every config, lowered for CUDA."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from flowseg.commands.parsing import load_config
from flowseg.config import Config
from flowseg.flow import make_flow
from flowseg.models.network import abstract_params, init_params
from flowseg.sampling.windows import WindowSampler
from flowseg.training.drivers import by_jit, local_step
from flowseg.training.state import init_state
from flowseg.training.step import AXIS

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.py"))
GPU: Any = SimpleNamespace(platform="gpu")
ATTENTION = "__cudnn$fmhaSoftmax"
BATCH, CROP = 2, 16


@pytest.fixture(autouse=True)
def _cudnn_is_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 92800)
    yield


def narrow(config: Config, precision: str) -> Config:
    """The same parts on small maps. Without the consistency term: it is the same network twice more."""
    return replace(
        config,
        precision=precision,
        flow=replace(config.flow, consistency=0.0),
        model=replace(config.model, dim=8, heads=1, head_dim=8),
        data=replace(config.data, crop=CROP),
        train=replace(config.train, batch=BATCH),
        eval=replace(config.eval, window_batch=BATCH),
    )


def lowered_step(config: Config) -> tuple[str, int]:
    """The step's program, and the number of arrays of its state."""
    mapped, cut = by_jit(local_step(config, 10, [GPU]), Mesh(np.asarray(jax.devices()[:1]), (AXIS,)))
    state = jax.eval_shape(lambda: init_state(config, init_params(config), 10))
    batch = {name: np.zeros((BATCH, CROP, CROP, 1), np.float32) for name in ("image", "target")}
    if config.model.film.stages:
        batch["embedding"] = np.zeros((BATCH, config.model.film.embedding_width), np.float32)
    traced = mapped.trace(state, cut(batch), jax.random.key(0))
    return traced.lower(lowering_platforms=("cuda",)).as_text(), len(jax.tree.leaves(state))


def lowered_sampler(config: Config) -> str:
    sampler = WindowSampler(config, [GPU])
    maps = (BATCH, CROP, CROP, 1)
    noise = make_flow(config.flow).noise(np.random.default_rng(0), (1, 1)).dtype
    embedding = (BATCH, config.model.film.embedding_width)
    traced = sampler.program.trace(
        abstract_params(config),
        jax.ShapeDtypeStruct((1, *maps), noise),
        jax.ShapeDtypeStruct(maps, jnp.float32),
        jax.ShapeDtypeStruct(embedding, jnp.float32) if config.model.film.stages else None,
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def assert_runs_on_the_gpu_alone(program: str) -> None:
    assert "callback" not in program
    assert not re.search(r"[<x]f64>", program)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_s_step_and_sampler(file: Path) -> None:
    config = narrow(load_config(file), "bf16")
    step, arrays = lowered_step(config)
    assert_runs_on_the_gpu_alone(step)
    assert ATTENTION in step and ATTENTION + "Backward" in step
    assert step.count("tf.aliasing_output") + step.count("jax.buffer_donor") == arrays
    sampler = lowered_sampler(config)
    assert_runs_on_the_gpu_alone(sampler)
    assert ATTENTION in sampler and ATTENTION + "Backward" not in sampler


def test_float32_has_no_half_precision_kernels() -> None:
    config = narrow(load_config(CONFIGS[0]), "float32")
    for program in (lowered_step(config)[0], lowered_sampler(config)):
        assert ATTENTION not in program and "bf16" not in program


def test_the_adaptive_sampler_does_not_call_the_host() -> None:
    config = narrow(load_config(CONFIGS[0].with_name("gaussian.py")), "bf16")
    assert_runs_on_the_gpu_alone(lowered_sampler(replace(config, eval=replace(config.eval, sampler="dopri5"))))
