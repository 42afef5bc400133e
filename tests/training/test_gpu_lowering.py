"""What a GPU would be asked to run, seen on any machine: step and sampler of every config, lowered for CUDA."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from flowseg.commands.parsing import load_config
from flowseg.config import Config
from flowseg.sampling.windows import WindowSampler
from flowseg.training.drivers import by_jit, local_step
from flowseg.training.step import AXIS

REPO = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPO / "configs").glob("*.py"))
GPU: Any = SimpleNamespace(platform="gpu", compute_capability="9.0", memory_stats=lambda: None)
ATTENTION = "__cudnn$fmhaSoftmax"

pytestmark = pytest.mark.usefixtures("cudnn")


@pytest.fixture(scope="module")
def programs() -> Iterator[Any]:
    """benchmarks/gpu_lowering.py: narrow configs, and the inputs of their programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPO / "benchmarks"))
        import gpu_lowering

        yield gpu_lowering


def lowered_step(programs: Any, config: Config) -> tuple[str, int]:
    """The step's program, and the number of arrays of its state."""
    mesh = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))
    mapped, cut = by_jit(local_step(config, programs.STEPS, [GPU]), mesh)
    state, batch, key = programs.step_inputs(config)
    traced = mapped.trace(state, cut(batch), key)
    return traced.lower(lowering_platforms=("cuda",)).as_text(), len(jax.tree.leaves(state))


def lowered_sampler(programs: Any, config: Config) -> str:
    traced = WindowSampler(config, [GPU]).program.trace(*programs.sampler_inputs(config))
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def assert_runs_on_the_gpu_alone(program: str) -> None:
    assert "callback" not in program
    assert not re.search(r"[<x]f64>", program)


def sums_in_16_bits(program: str) -> list[int]:
    """How many numbers are added up in 16 bits, for each such sum of more than 16: bfloat16 counts ones up to 256."""
    sums = re.findall(r"stablehlo\.add across dimensions = \[([\d, ]+)\] : \(tensor<([\dx]+)x(?:bf16|f16)>", program)
    counts = [math.prod(int(shape.split("x")[int(i)]) for i in axes.split(",")) for axes, shape in sums]
    return [count for count in counts if count > 16]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_s_step_and_sampler(programs: Any, file: Path) -> None:
    config = replace(programs.tiny(load_config(file)), precision="bf16")
    step, arrays = lowered_step(programs, config)
    assert_runs_on_the_gpu_alone(step)
    assert ATTENTION in step and ATTENTION + "Backward" in step
    assert not sums_in_16_bits(step)
    assert step.count("tf.aliasing_output") + step.count("jax.buffer_donor") == arrays
    sampler = lowered_sampler(programs, config)
    assert_runs_on_the_gpu_alone(sampler)
    assert ATTENTION in sampler and ATTENTION + "Backward" not in sampler


def test_all_attention_is_by_flash_kernels(programs: Any) -> None:
    """Three layers of linear attention and three of full attention, on the finer and the coarser maps, and two between
    maps. The linear ones pool positions by it, and their backward pass calls it twice."""
    config = replace(programs.tiny(load_config(REPO / "configs" / "supervised.py")), precision="bf16")
    step, _ = lowered_step(programs, config)
    assert step.count(ATTENTION + "(") == lowered_sampler(programs, config).count(ATTENTION + "(") == 8
    assert step.count(ATTENTION + "Backward(") == 3 * 2 + 5


def test_the_sampler_rounds_kernels_once_before_its_steps(programs: Any) -> None:
    config = replace(programs.tiny(load_config(REPO / "configs" / "baseline.py")), precision="bf16")
    program = lowered_sampler(programs, replace(config, eval=replace(config.eval, sampler="euler", steps=8)))
    steps = program.index("stablehlo.while")
    kernels = [found.start() for found in re.finditer(r"-> tensor<3x3x\d+x\d+xbf16>", program)]
    assert len(kernels) > 20 and max(kernels) < steps


def test_float32_has_float16_attention_and_no_other_half_precision(programs: Any) -> None:
    config = replace(programs.tiny(load_config(CONFIGS[0])), precision="float32")
    for program in (lowered_step(programs, config)[0], lowered_sampler(programs, config)):
        assert ATTENTION in program and "bf16" not in program


def test_exact_float32_has_no_half_precision_at_all(programs: Any) -> None:
    config = replace(programs.tiny(load_config(CONFIGS[0])), precision="float32")
    with jax.default_matmul_precision("highest"):
        program, _ = lowered_step(programs, config)
    assert not re.search(r"[<x](bf16|f16)>", program)


def test_the_adaptive_sampler_does_not_call_the_host(programs: Any) -> None:
    config = replace(programs.tiny(load_config(REPO / "configs" / "gaussian.py")), precision="bf16")
    config = replace(config, eval=replace(config.eval, sampler="dopri5"))
    assert_runs_on_the_gpu_alone(lowered_sampler(programs, config))
