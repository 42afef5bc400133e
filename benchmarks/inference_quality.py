"""What ensembles and test-time augmentation gain and cost, and what their uncertainty knows, on a trained run.

    python benchmarks/inference_quality.py RUN [--split val] [--ensemble 8] [--no-tta] [--turns 3]

Writes a JSON: a row per setting with Dice at 0.5 and at the threshold tuned on this very split, the AUROC of the
uncertainty for wrong pixels (mean over images; `near` counts only pixels within 5 of a vessel, true or predicted;
`deviation` takes the samples' standard deviation in place of the entropy), and the expected error beside the true one;
then what an ensemble costs against as many single runs.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowseg.commands.startup import set_up_jax, use_huge_pages

if __name__ == "__main__":
    # Before JAX is imported.
    use_huge_pages()
    set_up_jax()

import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr

from flowseg.config import Config
from flowseg.data.dataset import NetworkInput
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.evaluation.uncertainty import expected_error, uncertainty_auroc
from flowseg.models.network import Params
from flowseg.runs.folder import open_run
from flowseg.runs.trained import Trained
from flowseg.runs.tuning import best_threshold
from flowseg.sampling.mask import FIXED
from flowseg.sampling.segment import Segmentation, predictive_entropy, segment
from flowseg.sampling.windows import WindowSampler

HERE = Path(__file__).resolve().parent
SHOWN = ("dice", "dice_tuned", "auroc", "auroc_near", "auroc_deviation", "error", "expected_error", "spearman")
NEAR = 5
"""Pixels from a vessel, true or predicted, within which right and wrong are not plain from afar."""


def with_settings(config: Config, ensemble: int, tta: bool) -> Config:
    return replace(config, eval=replace(config.eval, ensemble=ensemble, tta=tta))


def clocked(call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds on the wall and of processors, this process and those it started, and what the call returns."""
    start = time.perf_counter()
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result = call()
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True))
    return {"seconds": time.perf_counter() - start, "processor_seconds": used}, result


def describe(found: list[Segmentation], truths: list[np.ndarray]) -> dict[str, Any]:
    """The figures of one setting."""
    dice, auroc, near, spread, expected = [], [], [], [], []
    for one, truth in zip(found, truths, strict=True):
        mask, entropy = one.probability > FIXED, predictive_entropy(one.probability)
        dice.append(overlap_metrics(mask, truth)["dice"])
        auroc.append(uncertainty_auroc(mask, truth, entropy))
        close = distance_transform_edt(~(mask | truth)) <= NEAR
        near.append(uncertainty_auroc(mask[close], truth[close], entropy[close]))
        spread.append(uncertainty_auroc(mask, truth, one.samples.std(axis=0)))
        expected.append(expected_error(one.probability, mask))
    tuned = best_threshold([one.probability for one in found], truths)
    row = {
        "dice": float(np.mean(dice)),
        "threshold": tuned.threshold,
        "dice_tuned": tuned.dice,
        "auroc": float(np.nanmean(auroc)),
        "auroc_near": float(np.nanmean(near)),
        "auroc_deviation": float(np.nanmean(spread)) if len(found[0].samples) > 1 else None,
        "error": 1 - float(np.mean(dice)),
        "expected_error": float(np.mean(expected)),
        "spearman": float(spearmanr(expected, 1 - np.asarray(dice)).statistic),
        "dice_per_image": dice,
    }
    return row


def costs(
    config: Config, params: Params, images: Sequence[NetworkInput], count: int, turns: int
) -> list[dict[str, Any]]:
    """An ensemble against as many single runs in a process that has compiled both, taking turns."""
    samplers = {
        kind: WindowSampler(with_settings(config, n, False)) for kind, n in (("single", 1), ("ensemble", count))
    }
    one_window = [replace(images[0], image=images[0].image[: config.data.crop, : config.data.crop])]
    rows = []
    for name, chosen in ((f"{len(images)} images", images), ("1 image", images[:1]), ("1 window", one_window)):
        spent: dict[str, list[dict[str, float]]] = {kind: [] for kind in samplers}
        for sampler in samplers.values():
            list(sampler.samples(params, one_window))  # compiles
        for _ in range(turns):
            for kind, sampler in samplers.items():
                sampler.evaluations.clear()
                repeats = count if kind == "single" else 1

                def draw(sampler: WindowSampler = sampler, repeats: int = repeats) -> None:
                    for _ in range(repeats):
                        list(sampler.samples(params, chosen))  # noqa: B023

                spent[kind].append({**clocked(draw)[0], "evaluations": sum(sampler.evaluations)})
        medians = {k: {c: float(np.median([s[c] for s in v])) for c in v[0]} for k, v in spent.items()}
        rows.append({"what": name, **medians})
    return rows


def start_to_end(run: Path, image: Path, count: int) -> dict[str, Any]:
    """The same from the command line, on one image: each run a process of its own."""

    def predict(times: int, ensemble: int) -> None:
        for _ in range(times):
            with tempfile.TemporaryDirectory() as out:
                command = [sys.executable, "-m", "flowseg", "predict", str(run), str(image), "--out", out]
                subprocess.run([*command, "--ensemble", str(ensemble)], check=True, capture_output=True)

    for ensemble in (1, count):
        predict(1, ensemble)  # its programs are compiled and kept
    return {
        "what": "flowseg predict, 1 image",
        "single": clocked(lambda: predict(count, 1))[0],
        "ensemble": clocked(lambda: predict(1, count))[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run's folder")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--ensemble", type=int, default=8)
    parser.add_argument("--tta", action=argparse.BooleanOptionalAction, default=True, help="rows with it, too")
    parser.add_argument("--turns", type=int, default=3, help="of the cost's measurement; 0: leave it out")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "inference_quality.json")
    args = parser.parse_args()
    machine, console = describe_machine(), Console()
    run = open_run(args.run)
    trained = Trained.open(run)
    params = trained.params
    dataset = trained.prepare([args.split]).datasets[args.split]
    images, truths = list(dataset), [dataset.truth(i) for i in range(len(dataset))]

    rows: list[dict[str, Any]] = []
    for ensemble, tta in [(n, tta) for tta in ((False, True) if args.tta else (False,)) for n in (1, args.ensemble)]:
        sampler = WindowSampler(with_settings(run.config, ensemble, tta))
        list(sampler.samples(params, images[:1]))  # compiles
        spent, found = clocked(lambda s=sampler: list(segment(s, params, images)))  # type: ignore[misc]
        rows.append({"ensemble": ensemble, "tta": tta, **spent, **describe(found, truths)})
        console.print({k: v for k, v in rows[-1].items() if k != "dice_per_image"})
    cost = []
    if args.turns:
        cost = costs(run.config, params, images, args.ensemble, args.turns)
        cost.append(start_to_end(run.path, dataset.pairs[0].image, args.ensemble))
    about = {"run": run.path.name, "step": trained.step, "split": args.split, "images": len(dataset)}
    write_results(args.out, machine, **about, rows=rows, cost=cost)

    table = Table("ensemble", "tta", "Dice", "tuned", "AUROC", "near", "deviation", "error", "expected", "rank corr.")
    for row in rows:
        figures = (row[name] for name in SHOWN)
        table.add_row(str(row["ensemble"]), str(row["tta"]), *("" if f is None else f"{f:.4f}" for f in figures))
    console.print(table)
    if not cost:
        return
    table = Table("", f"{args.ensemble} single runs, s", "ensemble, s", "processor s", "processor s", "ratio")
    for row in cost:
        one, all_ = row["single"], row["ensemble"]
        figures = (s[k] for k in ("seconds", "processor_seconds") for s in (one, all_))
        ratio = all_["processor_seconds"] / one["processor_seconds"]
        table.add_row(row["what"], *(f"{f:.1f}" for f in figures), f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
