"""Dice, evaluations of the network (NFE) and images/s of every sampler, on a trained run and real test images.

    python benchmarks/sampler_quality.py RUN [--images 10] [--max-nfe 32]

Fixed-step samplers at 1, 2, 4, 8, 16 and 50 steps, and adaptive Dormand-Prince at the run's `eval.tolerance` (1e-4),
all from the same noise. The split is `test` unless told otherwise: choose a default on `val`. Writes a JSON and a plot
of Dice against time.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowseg.commands.startup import set_up_jax, use_huge_pages

if __name__ == "__main__":
    # Before JAX is imported.
    use_huge_pages()
    set_up_jax()

import matplotlib
import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table

from flowseg.config import Sampler
from flowseg.evaluation.score import mean_metrics, score_split
from flowseg.runs.folder import open_run
from flowseg.runs.trained import Trained
from flowseg.sampling.windows import WindowSampler

HERE = Path(__file__).resolve().parent
STAGES: dict[Sampler, int] = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4}
STEPS = (1, 2, 4, 8, 16, 50)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Dice against seconds per image."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name in dict.fromkeys(row["sampler"] for row in rows):
        chosen = [row for row in rows if row["sampler"] == name]
        seconds = [1 / row["images_per_s"] for row in chosen]
        axis.plot(seconds, [row["dice"] for row in chosen], "o-", label=name, markersize=5)
        for x, row in zip(seconds, chosen, strict=True):
            label = f"{row['nfe']:.0f}"
            axis.annotate(label, (x, row["dice"]), xytext=(3, 4), textcoords="offset points", fontsize=7)
    axis.set(xscale="log", xlabel="seconds per image (numbers: evaluations of the network)", ylabel="Dice")
    axis.legend()
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run's folder")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--images", type=int, help="only the first so many")
    parser.add_argument("--max-nfe", type=int, default=200, help="leave out fixed-step samplers that need more")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sampler_quality.json")
    args = parser.parse_args()
    machine = describe_machine()
    run = open_run(args.run)
    trained = Trained.open(run)
    whole = trained.prepare([args.split]).datasets[args.split]
    count = min(args.images or len(whole), len(whole))
    dataset = whole.subset(range(count))
    chosen: list[tuple[Sampler, int]] = [("dopri5", 1)]
    chosen += [(name, steps) for name, stages in STAGES.items() for steps in STEPS if stages * steps <= args.max_nfe]
    rows: list[dict[str, Any]] = []
    console = Console()
    for name, steps in chosen:
        config = replace(run.config, eval=replace(run.config.eval, sampler=name, steps=steps))
        sampler = WindowSampler(config)
        # Compiles; not counted.
        list(score_split(sampler, trained.params, dataset.subset([0])))
        sampler.evaluations.clear()
        start = time.perf_counter()
        scored = list(score_split(sampler, trained.params, dataset))
        seconds = time.perf_counter() - start
        row: dict[str, Any] = {
            "sampler": name,
            "steps": steps if name in STAGES else None,
            "nfe": float(np.mean(sampler.evaluations)),
            "dice": mean_metrics([s.metrics for s in scored])["dice"],
            "images_per_s": len(scored) / seconds,
            "dice_per_image": [s.metrics["dice"] for s in scored],
        }
        rows.append(row)
        console.print(f"{name} {row['steps'] or ''}: Dice {row['dice']:.4f}, NFE {row['nfe']:.0f}, {seconds:.1f} s")
    table = Table("sampler", "steps", "NFE", "Dice", "minus adaptive", "images/s")
    for row in rows:
        difference = f"{row['dice'] - rows[0]['dice']:+.4f}"
        steps_text = str(row["steps"] or "adaptive")
        table.add_row(
            row["sampler"],
            steps_text,
            f"{row['nfe']:.0f}",
            f"{row['dice']:.4f}",
            difference,
            f"{row['images_per_s']:.2f}",
        )
    console.print(table)
    about = {"split": args.split, "images": count, "run": run.path.name, "step": trained.step}
    write_results(args.out, machine, **about, rows=rows)
    plot(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
