"""What the training step and the sampler cost on a GPU, counted from programs compiled for one on any machine.

    pip install -e ".[gpu-check]"
    python benchmarks/gpu_program.py [vlm_film] [--card h100] [--precision bf16] [--parallel jit] [--json FILE]

XLA compiles for a card that is not there (the extra brings its CUDA compiler, without NVIDIA's libraries). Prints peak
memory, kernels, bytes, arithmetic, the time that these need at least (a kernel takes 2 us at least), the time expected
by what kernels of their kinds took on an H200, and the ten lines of flowseg that move most. `program_cost.py` says how
it is counted and what it cannot see. `--tiny` takes a narrow network on small maps. `--against FILE` compares with an
earlier JSON and fails if a figure has grown by more than 2 %.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # the CUDA plugin would look for a card when JAX starts

import jax
import numpy as np
from gpu_cards import TARGETS, Target
from gpu_lowering import counted, for_one_device, lower_sampler, lower_seeds, lower_step, tiny
from jax.experimental import topologies
from jax.sharding import Mesh
from machine import describe_machine, write_results
from program_cost import Card, Kernel, by
from rich.console import Console
from rich.table import Table

from flowseg.commands.parsing import find_config, load_config
from flowseg.config import Config
from flowseg.errors import UserError
from flowseg.training.step import AXIS

FIGURES = ("peak_bytes", "bytes", "kernels", "flop", "roofline_ms")
TOLERANCE = 0.02
"""By how much a figure may grow before `--against` fails: other versions of XLA schedule a little differently."""


def mesh_of(target: Target) -> Mesh:
    """Returns a mesh of one card that does not exist: programs can be lowered and compiled for it, not run."""
    # JAX asks the installed cuDNN whether it has the attention kernel. There is none; 9.28 is the target's.
    from jax._src.cudnn import fused_attention_stablehlo

    fused_attention_stablehlo.check_cudnn_version = lambda: 92800
    try:
        described = topologies.get_topology_desc("", "cuda", target_config=target.text, topology="1x1x1")
    except Exception as error:
        cause = str(error).partition("\n")[0]
        sys.exit(f"XLA's CUDA compiler does not start ({cause}): install it with pip install -e '.[gpu-check]'")
    return Mesh(np.asarray(described.devices), (AXIS,))


def measure(lowered: jax.stages.Lowered, card: Card) -> tuple[dict[str, Any], list[Kernel]]:
    """Compiles a program for a card, and returns its figures and its kernels."""
    start = time.monotonic()
    compiled = lowered.compile()
    seconds = time.monotonic() - start
    figures, found = counted(compiled, card)
    return {**figures, "compile_s": seconds}, found


def show(name: str, figures: dict[str, Any], found: list[Kernel], card: Card, console: Console) -> None:
    """Prints the figures of a program, and where its traffic comes from."""
    console.print(
        f"[bold]{name}[/]: peak {figures['peak_bytes'] / 1e9:.2f} GB, {figures['kernels']:,} kernels, "
        f"{figures['bytes'] / 1e9:.1f} GB moved, {figures['flop'] / 1e12:.2f} TFLOP, at least "
        f"{figures['roofline_ms']:.1f} ms and about {figures['expected_ms']:.1f} on {card.name} (compiled in "
        f"{figures['compile_s']:.0f} s)"
    )
    for key, heading in (("place", "line of flowseg"), ("kind", "kind of kernel")):
        table = Table(heading, "GB moved", "share", "kernels", "TFLOP", "ms")
        for label, sums in by(found, card, key)[:10]:
            share = sums["bytes"] / figures["bytes"]
            table.add_row(
                label or "(none)",
                f"{sums['bytes'] / 1e9:.3f}",
                f"{share:.1%}",
                f"{sums['kernels']:,}",
                f"{sums['flop'] / 1e12:.3f}",
                f"{sums['roofline_ms']:.2f}",
            )
        console.print(table)


def grown(figures: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """Returns a line for each figure that is larger than it was, beyond the tolerance."""
    return [
        f"{program}: {name} has grown from {earlier[program][name]:.6g} to {figures[program][name]:.6g}"
        for program in figures
        for name in FIGURES
        if figures[program][name] > earlier[program][name] * (1 + TOLERANCE)
    ]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Counts what step and sampler cost on a GPU (see the file).")
    parser.add_argument("config", nargs="?", default="vlm_film", help="its name or file")
    parser.add_argument("--card", choices=TARGETS, default="h100")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--parallel", choices=("pmap", "jit"), default="pmap")
    parser.add_argument("--programs", nargs="+", choices=("train_step", "sampler"), default=["train_step", "sampler"])
    parser.add_argument("--size", type=int, help="side of the maps, pixels; default: the config's")
    parser.add_argument("--batch", type=int, help="images of a step; default: the config's")
    parser.add_argument("--microbatch", type=int, help="images at a time; default: all")
    parser.add_argument("--seeds", type=int, default=1, help="trainings whose steps are one program, by vmap")
    parser.add_argument("--tiny", action="store_true", help="a narrow network on 64 x 64 maps")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--against", type=Path, help="an earlier JSON; fails if a figure has grown")
    return parser.parse_args()


def configured(args: argparse.Namespace) -> Config:
    """Returns the config that the command line asks for."""
    config = load_config(find_config(args.config))
    config = tiny(config) if args.tiny else config
    return for_one_device(config, args.precision, args.parallel, args.size, args.batch, args.microbatch)


def main() -> None:
    args = parse()
    console, machine, target = Console(width=119), describe_machine(), TARGETS[args.card]
    try:
        config = configured(args)
    except UserError as error:
        sys.exit(str(error))
    mesh, figures = mesh_of(target), {}
    for name in args.programs:
        if name == "sampler":
            lowered = lower_sampler(config, mesh)
        else:
            lowered = lower_step(config, mesh) if args.seeds == 1 else lower_seeds(config, mesh, args.seeds)
        figures[name], found = measure(lowered, target.card)
        show(name, figures[name], found, target.card, console)
    if args.json:
        asked = {name: str(value) for name, value in vars(args).items() if value not in (None, False)}
        write_results(args.json, machine, asked=asked, **figures)
    if args.against and (worse := grown(figures, json.loads(args.against.read_text()))):
        sys.exit("\n".join(worse))


if __name__ == "__main__":
    main()
