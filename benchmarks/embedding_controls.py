"""Compares embeddings with their controls: the same network and budget, several seeds each, one table.

    python benchmarks/embedding_controls.py xca300 runs/controls [--store qwen=FILE shuffled=FILE]

Trains the baseline, and vlm_film with `image-stats`, `random` and `constant` embeddings, whose stores it makes itself,
and with those of the given stores, by the reduced recipe unless --preset says otherwise. After an interruption the
same command goes on: finished runs are kept, and scored again. Other settings take another folder. Writes
benchmarks/results/embedding_controls.json and .md: mean test Dice per seed, their mean with the 95 % interval over
seeds (Student's t), and the difference to the baseline with the same seed, with its interval.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from scipy import stats
from training_runs import flowseg, trained

from flowseg.files import write_text

HERE = Path(__file__).resolve().parent
CONTROLS = ("image-stats", "random", "constant")


def named_stores(given: list[str]) -> dict[str, str]:
    """Returns the files of `--store NAME=FILE` by name; exits if a name cannot be used."""
    stores: dict[str, str] = {}
    for one in given:
        name, _, file = one.partition("=")
        if not name or not file:
            sys.exit(f"--store {one}: give NAME=FILE")
        if name in ("baseline", *CONTROLS) or name in stores:
            sys.exit(f"--store {one}: there is a {name} already; choose another name")
        stores[name] = file
    return stores


def interval(values: list[float]) -> tuple[float, float] | None:
    """Returns the 95 % interval of a mean over seeds (Student's t), or None for a single seed."""
    if len(values) < 2:
        return None
    mean, half = float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean - half, mean + half


def summary(dice: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Returns a row per arm: Dice per seed, mean and interval, and the difference to the baseline, paired by seed."""
    rows = []
    for arm, values in dice.items():
        differences = [a - b for a, b in zip(values, dice["baseline"], strict=True)]
        rows.append(
            {
                "arm": arm,
                "dice": values,
                "mean": float(np.mean(values)),
                "interval": interval(values),
                "difference": float(np.mean(differences)),
                "difference_interval": interval(differences) if arm != "baseline" else None,
            }
        )
    return rows


def shown(ends: tuple[float, float] | None) -> str:
    """Returns an interval in brackets."""
    return f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends is not None else " (one seed)"


def markdown(rows: list[dict[str, Any]], seeds: list[int]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        f"| embeddings | test Dice, seeds {', '.join(map(str, seeds))} | mean [95 %] | minus baseline [95 %] |",
        "|---|---|---|---|",
    ]
    for row in rows:
        difference = (
            "" if row["arm"] == "baseline" else f"{row['difference']:+.4f}" + shown(row["difference_interval"])
        )
        per_seed = ", ".join(f"{value:.4f}" for value in row["dice"])
        lines.append(f"| {row['arm']} | {per_seed} | {row['mean']:.4f}{shown(row['interval'])} | {difference} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data set")
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--preset", default="cpu", choices=("cpu", "full"))
    parser.add_argument("--epochs", type=int, help="default 8 of 100 steps with the preset cpu, else the config's")
    parser.add_argument("--store", nargs="*", default=[], help="more embeddings: NAME=FILE")
    parser.add_argument("--options", default="", help="more options for every training")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "embedding_controls.json")
    args = parser.parse_args()
    machine = describe_machine()
    stores = named_stores(args.store)
    for encoder in CONTROLS:
        store = args.folder / f"{encoder}.safetensors"
        if not store.exists():
            flowseg("embed", args.data, "--encoder", encoder, "--out", store)
        stores[encoder] = str(store)
    common = ["--preset", args.preset, "--data.root", args.data, *args.options.split()]
    epochs = args.epochs or (8 if args.preset == "cpu" else None)
    if epochs is not None:
        common += ["--train.epochs", epochs]
    arms = {"baseline": ("baseline", []), **{n: ("vlm_film", ["--embeddings.store", f]) for n, f in stores.items()}}
    dice: dict[str, list[float]] = {arm: [] for arm in arms}
    minutes = 0.0
    # Seed by seed, so that the table can be made after each seed.
    for count, seed in enumerate(args.seeds, start=1):
        for arm, (config, options) in arms.items():
            result = trained(args.folder / f"{arm}-{seed}", config, *common, "--seed", seed, *options)
            dice[arm].append(result["test"]["model"]["dice"]["mean"])
            minutes += result["minutes"]
        rows = summary(dice)
        text = markdown(rows, args.seeds[:count])
        images = result["test"]["model"]["dice"]["n"]
        write_results(args.out, machine, seeds=args.seeds[:count], images=images, minutes=minutes, rows=rows)
        write_text(args.out.with_suffix(".md"), text)
        Console().print(text)


if __name__ == "__main__":
    main()
