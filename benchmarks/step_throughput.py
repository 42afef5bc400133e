"""Training-step and forward throughput of flowseg and of the PyTorch reference, alternating in one run.

    make bench TORCH_PYTHON=.venv-python3.11/bin/python      # or: python benchmarks/step_throughput.py --help

Every program is a process of its own that stays alive; the processes take turns (A B C A B C ...), so that a busy
moment of the machine meets all of them. Per group: medians over the turns, spread (quartiles), and the median over
turns of the ratio to the group's first program. flowseg is started twice, first with an empty compilation cache
(compile time), then again with it (start: seconds from the start of the process to the end of its first step; its peak
memory is this second start's, without the compiler's). A GPU must hold all programs of a group at once.
Results go to benchmarks/results/ as JSON with the machine's description, and as a plot.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
OURS, TORCH = "flowseg", "PyTorch"
HUGE_PAGES = "glibc.malloc.hugetlb=1"


@dataclass
class Program:
    """One row: a name, its worker's arguments, and what was measured."""

    name: str
    kind: str
    options: list[str]
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    compile_s: float | None = None
    start_s: float | None = None
    missing: str | None = None
    about: dict[str, Any] = field(default_factory=dict)


class WorkerEnded(Exception):
    """A worker that stopped instead of answering."""


class Worker:
    """A running worker process."""

    def __init__(self, program: Program, common: list[str], torch_python: str | None, cache: str):
        python = sys.executable if program.kind == OURS else torch_python
        script = HERE / ("jax_worker.py" if program.kind == OURS else "torch_worker.py")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [str(python), str(script), *common, *program.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The same for all: the huge pages that the flowseg command sets, and no more GPU memory than is used.
            env={
                "GLIBC_TUNABLES": HUGE_PAGES,
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                **os.environ,
                "JAX_COMPILATION_CACHE_DIR": cache,
                "FLOWSEG_TRACES": str(Path(cache) / "traces"),
                "TORCHINDUCTOR_CACHE_DIR": cache,
            },
        )
        self.about = self._answer()
        self.start_s = time.perf_counter() - started

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerEnded(f"its process ended with code {self.process.wait()}")
        return json.loads(line)

    def run(self, runs: int) -> dict[str, Any]:
        """Calls timed by the worker."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"runs": runs}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def groups(full: bool, gpu: bool) -> dict[str, list[Program]]:
    """What is compared with what; ratios are to the first of a group."""
    half = ["--precision", "bf16"]
    compiled = ["--compile", "--channels-last"]
    reference = [
        Program("PyTorch, sdpa", TORCH, ["--attention", "sdpa"]),
        Program("PyTorch, einsum attention", TORCH, ["--attention", "einsum"]),
    ]
    if full:
        reference.append(Program("PyTorch, sdpa, channels last", TORCH, ["--channels-last"]))
    if gpu:
        reference.append(Program("PyTorch, compiled, channels last", TORCH, compiled))
    chosen = {
        "against PyTorch": [Program("flowseg vlm_film", OURS, []), *reference],
        "conditioning and drivers": [
            Program("flowseg vlm_film", OURS, []),
            Program("flowseg baseline", OURS, ["--config", "gaussian"]),
            Program("flowseg vlm_film, jit", OURS, ["--parallel", "jit"]),
        ],
    }
    if full:
        chosen["junction gate"] = [
            Program("flowseg vlm_film", OURS, []),
            Program("flowseg vlm_film, junction gate", OURS, ["--junction-radius", "8"]),
        ]
    if full and not gpu:
        chosen["two devices"] = [
            Program("flowseg vlm_film", OURS, []),
            Program("flowseg vlm_film, 2 devices", OURS, ["--devices", "2"]),
        ]
        chosen["bf16"] = [
            Program("flowseg vlm_film, bf16", OURS, half),
            Program("flowseg vlm_film, float32", OURS, []),
            Program("PyTorch, sdpa, bf16", TORCH, half),
        ]
    if gpu:
        chosen["bf16"] = [
            Program("flowseg vlm_film, bf16", OURS, half),
            Program("PyTorch, compiled, channels last, bf16", TORCH, [*half, *compiled]),
            Program("PyTorch, eager, bf16", TORCH, half),
        ]
    return chosen


def measure(programs: list[Program], common: list[str], args: argparse.Namespace, console: Console) -> None:
    """Starts the programs, lets them take turns, stops them."""
    workers: list[tuple[Program, Worker]] = []
    try:
        for program in programs:
            if program.kind == TORCH and args.torch_python is None:
                program.missing = "no PyTorch: give --torch-python"
                continue
            console.print(f"  starting {program.name}")
            with nullcontext(args.cache) if args.cache else tempfile.TemporaryDirectory() as cache:
                try:
                    worker = Worker(program, common, args.torch_python, cache)
                    program.compile_s = worker.about["compile_s"]
                    if not args.cache and (program.kind == OURS or "--compile" in program.options):
                        worker.close()
                        worker = Worker(program, common, args.torch_python, cache)
                except WorkerEnded as ended:
                    program.missing = str(ended)
                    continue
                program.start_s, program.about = worker.start_s, worker.about
            workers.append((program, worker))
        for turn in range(args.turns):
            for program, worker in workers:
                answer = worker.run(args.runs)
                program.seconds.append(statistics.median(answer["seconds"]))
                program.peak_bytes = answer["peak_bytes"]
            console.print(f"  turn {turn + 1} of {args.turns}")
    finally:
        for _, worker in workers:
            worker.close()


def summary(programs: list[Program], batch: int) -> list[dict[str, Any]]:
    """A row per program; ratios are of its seconds to the first program's in the same turn."""
    rows = []
    first = programs[0]
    for program in programs:
        row: dict[str, Any] = {"program": program.name}
        if program.missing:
            rows.append({**row, "missing": program.missing})
            continue
        ratios = [b / a for a, b in zip(first.seconds, program.seconds, strict=True)]
        quartiles = statistics.quantiles(program.seconds, n=4) if len(program.seconds) > 1 else program.seconds * 3
        rows.append(
            row
            | {
                "seconds": statistics.median(program.seconds),
                "quartiles": [quartiles[0], quartiles[2]],
                "turns": program.seconds,
                "images_per_s": batch / statistics.median(program.seconds),
                "first_against_it": statistics.median(ratios),
                "compile_s": program.compile_s,
                "start_s": program.start_s,
                "peak_bytes": program.peak_bytes,
                "about": program.about,
            }
        )
    return rows


def show(title: str, rows: list[dict[str, Any]], console: Console) -> None:
    """The rows as a table."""
    table = Table(title=title)
    for name in ("program", "s/call", "quartiles", "images/s", "first is x times", "compile s", "start s", "peak GB"):
        table.add_column(name, justify="left" if name == "program" else "right")
    for row in rows:
        if "missing" in row:
            continue
        low, high = row["quartiles"]
        table.add_row(
            row["program"],
            f"{row['seconds']:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{row['images_per_s']:.2f}",
            f"{row['first_against_it']:.2f}",
            f"{row['compile_s']:.1f}",
            f"{row['start_s']:.1f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
        )
    console.print(table)
    for row in rows:
        if "missing" in row:
            console.print(f"{row['program']}: {row['missing']}")


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Seconds per call, a panel per comparison."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(results), 1, figsize=(8, 1.9 * len(results)), squeeze=False, layout="constrained")
    for axis, result in zip(axes[:, 0], results, strict=True):
        rows = [row for row in result["rows"] if "missing" not in row][::-1]
        colours = ["tab:blue" if row["program"].startswith(OURS) else "tab:orange" for row in rows]
        axis.barh([row["program"] for row in rows], [row["seconds"] for row in rows], color=colours)
        for place, row in enumerate(rows):
            axis.plot(row["turns"], [place] * len(row["turns"]), "k.", markersize=4)
        axis.set_title(result["title"], fontsize=9)
        axis.set_xlabel("seconds per call (dots: turns)", fontsize=8)
        axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="a Python that has PyTorch; without it those rows say so")
    parser.add_argument("--cases", nargs="+", default=["train:128x6", "forward:128x6", "train:320x1"])
    parser.add_argument("--groups", nargs="+", help="names of groups; default: all")
    parser.add_argument("--turns", type=int, default=5, help="how often each program takes its turn")
    parser.add_argument("--runs", type=int, default=1, help="calls per turn")
    parser.add_argument(
        "--full", action="store_true", help="also junction gate, fake devices, bf16 on CPU, channels last"
    )
    parser.add_argument("--gpu", action="store_true", help="the programs of a GPU")
    parser.add_argument("--cache", help="a folder of compiled programs to use and keep; each program starts once")
    parser.add_argument("--options", default="", help="more options for every worker, for example '--dim 8'")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "step_throughput.json")
    args = parser.parse_args()
    console = Console()
    machine = describe_machine()
    results: list[dict[str, Any]] = []
    for case in args.cases:
        mode, _, shape = case.partition(":")
        size, _, batch = shape.partition("x")
        common = ["--mode", mode, "--size", size, "--batch", batch, *args.options.split()]
        for name, programs in groups(args.full, args.gpu).items():
            if args.groups and name not in args.groups:
                continue
            title = f"{mode}, {size}x{size}, batch {batch}: {name}"
            console.rule(title)
            measure(programs, common, args, console)
            rows = summary(programs, int(batch))
            show(title, rows, console)
            results.append({"title": title, "case": case, "group": name, "rows": rows})
            # After every comparison: an interrupted benchmark keeps what it has.
            write_results(args.out, machine, results=results)
            plot(results, args.out.with_suffix(".png"))
    console.print(f"{args.out} and {args.out.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
