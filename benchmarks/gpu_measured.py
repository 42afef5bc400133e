"""The training step or the sampler on this machine's GPU: measured, counted, and how far the two are apart.

    python benchmarks/gpu_measured.py [vlm_film_gaussian] [--precision bf16] [--program train_step] [--json FILE]

Compiles the program that flowseg would run, times it, and traces a few runs by JAX's profiler. Beside the measured
time of each kind of kernel stands what `program_cost.py` counts for it: the error of the instrument that needs no GPU.
Two times are given: with the next run queued before the last has ended, as in training, and waiting for each.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gpu_cards import TARGETS
from gpu_lowering import STEPS, counted, for_one_device, lower_sampler, lower_step, sampler_inputs, step_inputs
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from machine import describe_machine, write_results
from program_cost import Card, Kernel
from rich.console import Console
from rich.table import Table

from flowseg.commands.parsing import find_config, load_config
from flowseg.config import Config
from flowseg.models.network import init_params
from flowseg.training.drivers import MAPPINGS, local_step
from flowseg.training.state import init_state
from flowseg.training.step import AXIS

WARM_UP = 5
TRACED = 3
KEPT = 100
"""Kernels in the JSON, the slowest first."""


def random_like(tree: Any) -> Any:
    """Returns arrays of these shapes: normal numbers, or 1 for integers."""
    rng = np.random.default_rng(0)

    def fill(a: Any) -> Any:
        return rng.standard_normal(a.shape, np.float32) if a.dtype == np.float32 else np.ones(a.shape, a.dtype)

    return jax.tree.map(fill, tree)


def prepare(config: Config, program: str, mesh: Mesh) -> tuple[jax.stages.Compiled, Callable[[], Any], float]:
    """Returns the compiled program, a call that starts one run of it, and the seconds that compiling took."""
    replicated, shared = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    start = time.perf_counter()
    if program == "sampler":
        compiled = lower_sampler(config, mesh).compile()
        seconds = time.perf_counter() - start
        inputs = jax.device_put([init_params(config), *random_like(sampler_inputs(config)[1:])], replicated)
        return compiled, lambda: compiled(*inputs), seconds
    compiled = lower_step(config, mesh).compile()
    seconds = time.perf_counter() - start
    state = jax.device_put(init_state(config, init_params(config), STEPS), replicated)
    cut = MAPPINGS[config.parallel](local_step(config, STEPS, list(mesh.devices.flat)), mesh)[1]
    batch = jax.device_put(cut(random_like(step_inputs(config)[1])), shared)
    key = jax.device_put(jax.random.key(0), replicated)

    def step() -> Any:
        nonlocal state
        state, metrics = compiled(state, batch, key)
        return metrics

    return compiled, step, seconds


def timed(call: Callable[[], Any], runs: int) -> dict[str, float]:
    """Milliseconds of a run: queued one behind the other, and waited for (median)."""
    for _ in range(WARM_UP):
        jax.block_until_ready(call())
    start = time.perf_counter()
    result = None
    for _ in range(runs):
        result = call()
    jax.block_until_ready(result)
    queued = 1e3 * (time.perf_counter() - start) / runs
    waited = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(call())
        waited.append(1e3 * (time.perf_counter() - start))
    return {"queued_ms": queued, "waited_ms": statistics.median(waited)}


def traced(call: Callable[[], Any], folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds and launches of each kernel in one run, from a trace of some runs.

    Kernels are known by the instruction that started them. Those in a CUDA graph are known by their own names, which
    for XLA's kernels is the instruction's name with underscores.
    """
    with jax.profiler.trace(str(folder)):
        for _ in range(TRACED):
            jax.block_until_ready(call())
    file = next(folder.rglob("*.xplane.pb"))
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"ms": 0.0, "launches": 0.0})
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        if not plane.name.startswith("/device:GPU"):
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                instruction = next((str(value) for name, value in event.stats if name == "hlo_op"), "")
                inside_graph = not instruction or instruction.startswith("command_buffer")
                entry = found[event.name if inside_graph else instruction]
                entry["ms"] += event.duration_ns / 1e6 / TRACED
                entry["launches"] += 1 / TRACED
    return dict(found)


def by_name(found: list[Kernel]) -> dict[str, Kernel]:
    """Returns the kernels of a program by the names that a trace may give them."""
    return {name: kernel for kernel in found for name in (kernel.name, re.sub(r"[^A-Za-z0-9_]", "_", kernel.name))}


def kind_of(name: str) -> str:
    """Returns the kind of a library's kernel that a trace knows by its own name only, as it is counted."""
    lowered = name.lower()
    if "fmha" in lowered or "flash" in lowered or "sdpa" in lowered:
        return "__cudnn$fmhaSoftmaxBackward" if "bprop" in lowered else "__cudnn$fmhaSoftmax"
    if "gemm" in lowered or "nvjet" in lowered or "cutlass" in lowered or "splitk" in lowered:
        return "__cublas$lt$matmul"
    return "fft" if "fft" in lowered else "not counted"


def compared(found: list[Kernel], measured: dict[str, dict[str, float]], card: Card) -> list[dict[str, Any]]:
    """Returns what was counted and what was measured for each kind of kernel, the slowest first."""
    rows: dict[str, dict[str, Any]] = {}
    known = by_name(found)

    def row(kind: str) -> dict[str, Any]:
        return rows.setdefault(kind, {"kind": kind, "ms": 0.0, "launches": 0.0, "counted_ms": 0.0, "kernels": 0})

    for kernel in found:
        entry = row(kernel.kind)
        entry["counted_ms"] += 1e3 * kernel.runs * card.seconds(kernel)
        entry["kernels"] += kernel.runs
    for name, times in measured.items():
        entry = row(known[name].kind if name in known else kind_of(name))
        entry["ms"] += times["ms"]
        entry["launches"] += times["launches"]
    return sorted(rows.values(), key=lambda entry: -entry["ms"])


def show(report: dict[str, Any], console: Console) -> None:
    """Prints the figures of a program, measured beside counted."""
    figures, memory = report["counted"], report["memory"]
    console.print(
        f"{report['program']}, {report['precision']}, on {report['device']}: {report['queued_ms']:.2f} ms a run "
        f"({report['waited_ms']:.2f} if each is waited for), kernels {report['kernel_ms']:.2f} ms; counted: at least "
        f"{figures['roofline_ms']:.2f} ms, about {figures['expected_ms']:.1f}, {figures['kernels']:,} kernels, "
        f"{figures['bytes'] / 1e9:.1f} GB moved"
    )
    console.print(
        f"peak memory {memory['peak_bytes'] / 1e9:.2f} GB, counted {memory['counted_bytes'] / 1e9:.2f} GB; compiled "
        f"in {report['compile_s']:.0f} s"
    )
    table = Table("kind of kernel", "ms", "at least", "launches", "counted")
    for row in report["kinds"][:15]:
        cells = (f"{row['ms']:.2f}", f"{row['counted_ms']:.2f}", f"{row['launches']:.0f}", f"{row['kernels']:,}")
        table.add_row(row["kind"], *cells)
    console.print(table)
    table = Table("kernel", "ms", "at least", "line of flowseg")
    for row in report["each"][:25]:
        table.add_row(row["name"], f"{row['ms']:.3f}", f"{row['counted_ms']:.3f}", row["place"])
    console.print(table)


def each(found: list[Kernel], measured: dict[str, dict[str, float]], card: Card) -> list[dict[str, Any]]:
    """Returns the kernels that take longest, each beside what was counted."""
    known = by_name(found)
    rows = []
    for name, times in sorted(measured.items(), key=lambda item: -item[1]["ms"]):
        kernel = known.get(name)
        least = 1e3 * kernel.runs * card.seconds(kernel) if kernel else 0.0
        about = {"kind": kernel.kind, "place": kernel.place, "bytes": kernel.bytes} if kernel else {"place": ""}
        rows.append({"name": name, **times, "counted_ms": least, **about})
    return rows


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures step or sampler on a GPU beside what is counted for it.")
    parser.add_argument("config", nargs="?", default="vlm_film_gaussian", help="its name or file")
    parser.add_argument("--program", choices=("train_step", "sampler"), default="train_step")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--parallel", choices=("pmap", "jit"), default="pmap")
    parser.add_argument("--size", type=int, default=320, help="side of the maps, pixels")
    parser.add_argument("--batch", type=int, default=6, help="images of a step")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--text", type=Path, help="where the text of the compiled program is written")
    return parser.parse_args()


def main() -> None:
    args = parse()
    device = jax.devices()[0]
    card = next((target.card for target in TARGETS.values() if target.card.name == device.device_kind), None)
    if card is None:
        names = ", ".join(target.card.name for target in TARGETS.values())
        sys.exit(f"{device.device_kind}: its rates are not known here; gpu_cards.py has those of {names}")
    machine = describe_machine()
    config = load_config(find_config(args.config))
    config = for_one_device(config, args.precision, args.parallel, args.size, args.batch)
    compiled, call, seconds = prepare(config, args.program, Mesh(np.asarray([device]), (AXIS,)))
    if args.text:
        args.text.write_text(compiled.as_text() or "")
    figures, found = counted(compiled, card)
    times = timed(call, args.runs)
    peak = device.memory_stats()["peak_bytes_in_use"]
    with tempfile.TemporaryDirectory() as folder:
        measured = traced(call, Path(folder))
    report = {
        "config": args.config,
        "program": args.program,
        "precision": args.precision,
        "device": device.device_kind,
        "compile_s": seconds,
        **times,
        "kernel_ms": sum(entry["ms"] for entry in measured.values()),
        "counted": figures,
        "memory": {"peak_bytes": peak, "counted_bytes": figures["peak_bytes"]},
        "kinds": compared(found, measured, card),
        "each": each(found, measured, card)[:KEPT],
    }
    show(report, Console(width=150))
    if args.json:
        write_results(args.json, machine, **report)


if __name__ == "__main__":
    main()
