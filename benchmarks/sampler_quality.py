"""What more evaluations of the network buy: Dice, calibration and cost of every sampler, on a trained run.

    python benchmarks/sampler_quality.py RUN [--split val] [--images 10] [--max-nfe 50]

The samplers of the run's flow at 1, 2, 4, 8, 16 and 50 steps, single samples and ensembles of 4 and 8; for the
Gaussian flow also adaptive Dormand-Prince at the run's `eval.tolerance`. NFE counts the evaluations per window, those
of all samples. ECE and Brier score are those of the mean probability, AUROC that of its entropy for wrong pixels, and
the expected error stands beside the true one. SAUNA maps are no probabilities, so ECE, Brier score and expected error
are left out for them. All scores are inside the field of view, if there is one. Choose a default on `val`. Writes a
JSON and a plot of Dice against NFE.
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

from flowseg.config import SAMPLERS, Sampler
from flowseg.evaluation.arrays import pixels_inside
from flowseg.evaluation.metrics import prediction_metrics
from flowseg.evaluation.score import Scored, score_split
from flowseg.evaluation.soft import CALIBRATION
from flowseg.evaluation.uncertainty import AUROC, EXPECTED_ERROR, expected_error, uncertainty_auroc
from flowseg.runs.folder import open_run
from flowseg.runs.trained import Trained
from flowseg.sampling.segment import predictive_entropy
from flowseg.sampling.windows import WindowSampler

HERE = Path(__file__).resolve().parent
STAGES: dict[Sampler, int] = {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4}
STEPS = (1, 2, 4, 8, 16, 50)
ENSEMBLES = (1, 4, 8)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Dice and, where there are probabilities, Brier score against evaluations."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    names = [name for name in ("dice", "brier") if name in rows[0]]
    figure, grid = plt.subplots(1, len(names), figsize=(5 * len(names), 4.2), layout="constrained", squeeze=False)
    axes = grid[0]
    for axis, name in zip(axes, names, strict=True):
        for kind in dict.fromkeys((row["sampler"], row["ensemble"]) for row in rows):
            chosen = [row for row in rows if (row["sampler"], row["ensemble"]) == kind]
            label = kind[0] + (f", {kind[1]} samples" if kind[1] > 1 else "")
            axis.plot([row["nfe"] for row in chosen], [row[name] for row in chosen], "o-", label=label, markersize=4)
        axis.set(xscale="log", xlabel="evaluations of the network", ylabel=name)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def describe(scored: list[Scored], probabilities: bool) -> dict[str, Any]:
    """Means over images, inside the field of view; those of the calibration only if the maps are probabilities."""
    columns: dict[str, list[float]] = {}
    for item in scored:
        metrics = prediction_metrics(item.probability, item.prediction, item.truth, item.fov)
        entropy = predictive_entropy(item.probability)
        values = {name: metrics[name] for name in ("dice", "cldice", *(CALIBRATION if probabilities else ()))}
        inside = [pixels_inside(one, item.fov) for one in (item.prediction, item.truth, entropy)]
        values[AUROC] = uncertainty_auroc(*inside)
        if probabilities:
            values[EXPECTED_ERROR] = expected_error(item.probability, item.prediction)
        for name, value in values.items():
            columns.setdefault(name, []).append(np.nan if value is None else value)
    means: dict[str, Any] = {name: float(np.nanmean(values)) for name, values in columns.items()}
    return {**means, "error": 1 - means["dice"], "dice_per_image": columns["dice"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run's folder")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--images", type=int, help="only the first so many")
    parser.add_argument("--max-nfe", type=int, default=50, help="leave out what needs more evaluations")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sampler_quality.json")
    args = parser.parse_args()
    machine = describe_machine()
    run = open_run(args.run)
    trained = Trained.open(run)
    whole = trained.prepare([args.split]).datasets[args.split]
    count = min(args.images or len(whole), len(whole))
    dataset = whole.subset(range(count))
    console = Console(width=140)
    rows: list[dict[str, Any]] = []
    probabilities = run.config.data.target != "sauna"
    for name in SAMPLERS[run.config.flow.family]:
        for ensemble in ENSEMBLES:
            for steps in STEPS if name in STAGES else (1,):
                if ensemble * steps * STAGES.get(name, args.max_nfe) > args.max_nfe:
                    continue
                if run.config.flow.family == "supervised" and ensemble * steps > 1:
                    continue  # it has no times and draws nothing
                settings = replace(run.config.eval, sampler=name, steps=steps, ensemble=ensemble)
                sampler = WindowSampler(replace(run.config, eval=settings))
                list(score_split(sampler, trained.params, dataset.subset([0])))  # compiles; not counted
                sampler.evaluations.clear()
                start = time.perf_counter()
                scored = list(score_split(sampler, trained.params, dataset))
                row: dict[str, Any] = {
                    "sampler": name,
                    "steps": steps if name in STAGES else None,
                    "ensemble": ensemble,
                    "nfe": float(np.mean(sampler.evaluations)) * ensemble,
                    "images_per_s": len(scored) / (time.perf_counter() - start),
                    **describe(scored, probabilities),
                }
                rows.append(row)
                console.print(
                    f"{name} {row['steps'] or ''} x {ensemble}: Dice {row['dice']:.4f}, NFE {row['nfe']:.0f}"
                )
    names = [name for name in ("dice", "cldice", *CALIBRATION, AUROC, "error", EXPECTED_ERROR) if name in rows[0]]
    table = Table("sampler", "steps", "samples", "NFE", *names, "images/s")
    for row in rows:
        numbers = [f"{row[name]:.4f}" for name in names]
        about = (row["sampler"], str(row["steps"] or "adaptive"), str(row["ensemble"]), f"{row['nfe']:.0f}")
        table.add_row(*about, *numbers, f"{row['images_per_s']:.2f}")
    console.print(table)
    about_run = {"split": args.split, "images": count, "run": run.path.name, "step": trained.step}
    write_results(args.out, machine, **about_run, rows=rows)
    plot(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
