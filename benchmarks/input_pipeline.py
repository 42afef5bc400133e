"""Batches per second of the Grain pipeline alone, against what the training step consumes.

    python benchmarks/input_pipeline.py --data xca300 [--step-seconds 0.27]

Times the pipeline of a config's own training split: decoding is done once (images are held in memory), then crops,
augmentations and batching by `data.threads` threads.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table

from flowseg.commands.parsing import load_config
from flowseg.commands.presets import PHANTOMS, cpu_preset
from flowseg.data.dataset import load_splits
from flowseg.data.pipeline import iterate, training_batches
from flowseg.phantoms.default import data_root

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a data set; default: the phantoms")
    parser.add_argument("--batches", type=int, default=200, help="batches per turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--step-seconds", type=float, help="time of a step, to compare with")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "input_pipeline.json")
    args = parser.parse_args()
    machine = describe_machine()
    full = load_config(HERE.parent / "configs" / "baseline.py")
    rows = []
    table = Table("recipe", "crop", "batch", "threads", "batches/s", "quartiles", "share of a step")
    for recipe, config in (("cpu", cpu_preset(full, PHANTOMS)), ("full", full)):
        config = replace(config, data=replace(config.data, root=args.data))
        dataset = load_splits(data_root(config.data), config.data, ["train"])["train"]
        batches = training_batches(config, dataset)
        for threads in args.threads:
            rates = []
            for turn in range(args.turns):
                start = time.perf_counter()
                for _ in iterate(batches, turn * args.batches, (turn + 1) * args.batches, threads):
                    pass
                rates.append(args.batches / (time.perf_counter() - start))
            quartiles = statistics.quantiles(rates, n=4) if len(rates) > 1 else rates * 3
            median = statistics.median(rates)
            share = f"{1 / median / args.step_seconds:.1%}" if args.step_seconds and recipe == "cpu" else ""
            rows.append({"recipe": recipe, "threads": threads, "batches_per_s": median, "turns": rates})
            table.add_row(
                recipe,
                str(config.data.crop),
                str(config.train.batch),
                str(threads),
                f"{median:.0f}",
                f"{quartiles[0]:.0f}-{quartiles[2]:.0f}",
                share,
            )
    Console().print(table)
    write_results(args.out, machine, rows=rows)


if __name__ == "__main__":
    main()
