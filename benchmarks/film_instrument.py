"""Tests `flowseg analyze film` on three runs for which the right answer is known.

    python benchmarks/film_instrument.py runs/instrument

choice    phantoms whose mask only the embedding tells: the analysis must find that the model uses it
random    ordinary phantoms, embeddings without information
constant  ordinary phantoms, one vector for all images

It takes about twenty minutes on two cores. After an interruption the same command goes on. Results are written to
benchmarks/results.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table
from training_runs import flowseg, trained

HERE = Path(__file__).resolve().parent
# The reduced recipe scales images down to this size.
COUNTS = ("--size", 192, "--train", 120, "--val", 16, "--test", 24)


def prepare(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Makes what is missing, and returns the data set and the store of every run."""
    choice, plain = folder / "data-choice", folder / "data-plain"
    if not choice.exists():
        flowseg("phantoms", choice, "--variant", "choice", *COUNTS)
    if not plain.exists():
        flowseg("phantoms", plain, *COUNTS)
    chosen = {"choice": (choice, choice / "choice.safetensors")}
    for encoder in ("random", "constant"):
        store = folder / f"{encoder}.safetensors"
        if not store.exists():
            flowseg("embed", plain, "--encoder", encoder, "--out", store)
        chosen[encoder] = (plain, store)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where runs and data go")
    parser.add_argument("--epochs", type=int, default=6, help="of 100 steps of the reduced recipe")
    parser.add_argument("--options", default="", help="more options for every training")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "film_instrument.json")
    args = parser.parse_args()
    machine = describe_machine()
    rows: list[dict[str, Any]] = []
    for name, (data, store) in prepare(args.folder).items():
        run = args.folder / name
        options = ["--preset", "cpu", "--data.root", data, "--embeddings.store", store, "--train.epochs", args.epochs]
        result = trained(run, "vlm_film", *options, *args.options.split())
        flowseg("analyze", "film", run)
        report = json.loads((run / "analysis" / "film-test" / "report.json").read_text())
        rows.append({"run": name, "minutes": result["minutes"], **kept(report)})
    table = Table("embeddings", "own", "another's", "own - another's", "own - none", "verdict", "minutes")
    for row in rows:
        table.add_row(row["run"], *cells(row), f"{row['minutes']:.1f}")
    Console().print(table)
    write_results(args.out, machine, rows=rows)


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a report that the result keeps; the whole report stays with the run."""
    return {
        "images": len(report["images"]),
        "dice": {name: condition["mean"]["dice"] for name, condition in report["conditions"].items()},
        "dice_differences": {name: measures["dice"] for name, measures in report["differences"].items()},
        "modulation": report["modulation"],
        "verdict": report["verdict"]["sentence"],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """Returns Dice with the own and with another embedding, their difference, that to no FiLM, and the verdict."""
    shown = [f"{row['dice'][name]['mean']:.4f}" for name in ("own", "other")]
    for name in ("other", "none"):
        dice = row["dice_differences"][name]
        shown.append(f"{dice['mean']:+.4f} [{dice['low']:+.4f}, {dice['high']:+.4f}]")
    return [*shown, row["verdict"]]


if __name__ == "__main__":
    main()
