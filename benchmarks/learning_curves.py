"""Validation Dice over processor minutes, of several finished trainings in one plot.

    python benchmarks/learning_curves.py RUN... [FILE.json...] --out FILE.png

A run of flowseg says what all of its starts took (starts.jsonl), final scoring included; its minutes are shared out
over its steps evenly. A plain U-Net (plain_unet.py) says the minutes of each validation, without those of scoring.
Each is called by its folder. Writes the points beside the picture, as JSON; such a file stands for its runs.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from machine import describe_machine, write_results

from flowseg.runs.folder import open_run
from flowseg.runs.log import read_metrics
from flowseg.runs.provenance import read_starts


def curve(path: Path) -> list[tuple[float, float]]:
    """Returns processor minutes and Dice of each validation of a run, in their order."""
    records = read_metrics(path)
    seen = [record for record in records if record["kind"] == "val"]
    if all("processor_minutes" in record for record in seen):
        return [(record["processor_minutes"], record["dice"]) for record in seen]
    starts = read_starts(path)
    if not starts or not all("processor_seconds" in start for start in starts):
        sys.exit(f"{path}: does not say what all of its starts took; it was killed once, or is not finished")
    minutes = sum(start["processor_seconds"] for start in starts) / 60
    last = max(record["step"] for record in records)
    return [(minutes * record["step"] / last, record["dice"]) for record in seen]


def plot(curves: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Draws all curves."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, points in curves.items():
        axis.plot(*zip(*points, strict=True), "o-", label=name, markersize=4)
    axis.set(xlabel="processor minutes", ylabel="Dice on the validation images")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Dice over processor minutes (see the file).")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, or points that were kept")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    args = parser.parse_args()
    curves: dict[str, Any] = {}
    for path in args.runs:
        if path.suffix == ".json":
            curves |= json.loads(path.read_text())["curves"]
        else:
            curves[open_run(path).path.name] = curve(path)
    plot(curves, args.out)
    write_results(args.out.with_suffix(".json"), describe_machine(), curves=curves)


if __name__ == "__main__":
    main()
