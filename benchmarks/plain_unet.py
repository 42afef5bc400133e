"""Is flowseg worth it on these data? Trains and scores a plain U-Net, as a run that `flowseg compare` reads.

    python benchmarks/plain_unet.py ROOT OUT --minutes 25
    flowseg compare OUT runs/x --out report

ROOT is a data set in flowseg's folder layout. Needs the extra `peers` (MONAI on PyTorch). The network is MONAI's
DynUNet with 2.2 million parameters, trained by Dice and cross-entropy.

The budget counts processor time, that of all threads: of the training and its batches, not of scoring. The learning
rate falls to 0 at its end. Before the training, a selection on the validation split chooses among crops and whole
images, three sizes of the image and two learning rates: each candidate is trained for `--select-minutes`, then the
best of each size anew for three times as long, because a short training favours small images. The best of all is then
tried with rotations by up to 20 degrees in place of flips and quarter turns (a name that ends with -upright). The
selection is not part of the budget; `--candidate` leaves it out.

OUT is written as a run: config.json says what the network is, metrics.jsonl has ten validations over the training
(not counted, and nothing is chosen by them), eval/test is as `flowseg eval` writes it, at the threshold 0.5. Beside
them are plain_unet.json (selection, budget, machine) and the final weights.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowseg.commands.startup import use_huge_pages

if __name__ == "__main__":
    # Before PyTorch is imported. Threads that wait without sleeping would count as processor time on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    use_huge_pages()

import numpy as np
import torch
from machine import describe_machine, write_results
from safetensors.torch import save_model
from unet_training import (
    Candidate,
    Progress,
    candidates,
    describe,
    longest_side,
    run_config,
    segmentations,
    train,
    training_pairs,
)

from flowseg.config import DataConfig
from flowseg.data.dataset import Dataset, load_splits
from flowseg.errors import UserError
from flowseg.evaluation.evaluate import evaluate_segmentations
from flowseg.evaluation.score import mean_metrics, score
from flowseg.files import write_text
from flowseg.progress import console
from flowseg.runs.folder import DONE_FILE, create_run
from flowseg.runs.log import Log

WEIGHTS = "weights.safetensors"
VALIDATIONS = 10
LONGER = 3
"""So many times as long are the best candidates trained before one is chosen."""
_LOG_EVERY = 10  # steps


def validate(network: torch.nn.Module, dataset: Dataset, candidate: Candidate) -> dict[str, float]:
    """Returns the mean overlap metrics over a split."""
    return mean_metrics([item.metrics for item in score(segmentations(network, dataset, candidate), dataset)])


def select(
    among: Sequence[Candidate], datasets: dict[str, Dataset], minutes: float, seed: int
) -> tuple[Candidate, list[dict[str, Any]]]:
    """Returns the candidate with the best validation Dice after the longer trainings, and a row for each training.

    The best of each size are trained anew for longer, if there are several sizes, and then the best of all once more
    as an upright one.
    """
    rows: list[dict[str, Any]] = []

    def tried(candidate: Candidate, minutes: float) -> float:
        started = time.process_time()
        config = run_config(candidate, datasets["train"], seed)
        *_, last = train(config, training_pairs(datasets["train"], config.data), minutes)
        dice = validate(last.network, datasets["val"], candidate)["dice"]
        spent = (time.process_time() - started) / 60
        rows.append(
            {
                "candidate": candidate.name,
                "shown": candidate.shown,
                "training_minutes": last.minutes,
                "minutes_with_validation": spent,
                "steps": last.step,
                "val_dice": dice,
            }
        )
        console.print(f"{candidate.name}: validation Dice {dice:.4f} after {last.minutes:.1f} processor minutes")
        return dice

    dices = {candidate: tried(candidate, minutes) for candidate in among}
    sizes = dict.fromkeys(candidate.max_side for candidate in among)
    best = [max((c for c in among if c.max_side == size), key=lambda c: dices[c]) for size in sizes]
    if len(best) > 1:
        minutes *= LONGER
        dices = {candidate: tried(candidate, minutes) for candidate in best}
    winner = max(best, key=lambda candidate: dices[candidate])
    upright = replace(winner, upright=True)
    return (upright if tried(upright, minutes) > dices[winner] else winner), rows


def logged(
    steps: Iterator[Progress], minutes: float, log: Log, dataset: Dataset, candidate: Candidate
) -> tuple[Progress, list[dict[str, float]]]:
    """Takes all steps of a training and logs its loss and validations; returns the last step and the validations."""
    losses: list[float] = []
    curve: list[dict[str, float]] = []
    due = minutes / VALIDATIONS
    last = None

    def write_losses(at: Progress) -> None:
        values = {"steps": len(losses), "loss": float(np.mean(losses)), "lr": at.lr, "processor_minutes": at.minutes}
        log.write("train", at.step, at.epoch, values)
        losses.clear()

    def write_validation(at: Progress) -> None:
        scores = {**validate(at.network, dataset, candidate), "processor_minutes": at.minutes}
        log.write("val", at.step, at.epoch, {**scores, "images": len(dataset)})
        curve.append(scores)
        console.print(f"{at.minutes:.1f} processor minutes, step {at.step}: validation Dice {scores['dice']:.4f}")

    for last in steps:
        losses.append(last.loss)
        if len(losses) == _LOG_EVERY:
            write_losses(last)
        if due <= last.minutes < minutes:
            write_validation(last)
            due = (int(last.minutes * VALIDATIONS / minutes) + 1) * minutes / VALIDATIONS
    assert last is not None
    if losses:
        write_losses(last)
    write_validation(last)
    return last, curve


def run(data: Path, out: Path, minutes: float, select_minutes: float, name: str | None, seed: int) -> None:
    """Selects (unless a candidate is named), trains, scores, and writes `out`.

    Raises a UserError for a mistake in the data, a folder that is not empty, or an unknown candidate.
    """
    machine = describe_machine()
    machine["packages"] |= {package: version(package) for package in ("torch", "monai")}
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; choose another folder")
    # At full size: what a candidate is shown is made from them.
    datasets = load_splits(data, DataConfig(root=str(data), target="mask", crop=16))
    among = candidates(longest_side(datasets["train"]))
    known = {candidate.name: candidate for one in among for candidate in (one, replace(one, upright=True))}
    if name is not None and name not in known:
        raise UserError(f"--candidate {name}: choose one of {', '.join(known)}")

    selection: list[dict[str, Any]] = []
    if name is not None:
        candidate = known[name]
    else:
        candidate, selection = select(among, datasets, select_minutes, seed)

    config = run_config(candidate, datasets["train"], seed)
    network = describe(candidate, minutes, "on the validation split" if selection else "by the user")
    made = create_run(out, config, None, network)
    console.print(f"{candidate.name}: {network.parameters:,} parameters, {minutes:g} processor minutes")
    log = Log(out, 0, 0)
    steps = train(config, training_pairs(datasets["train"], config.data), minutes)
    last, curve = logged(steps, minutes, log, datasets["val"], candidate)
    log.close()
    save_model(last.network, str(out / WEIGHTS))

    about = {"run": str(out), "step": last.step, "val_dice": curve[-1]["dice"], "data": str(data)}
    found = segmentations(last.network, datasets["test"], candidate)
    test = evaluate_segmentations(found, datasets, "test", out / "eval" / "test", about, network.name)
    write_results(
        out / "plain_unet.json",
        machine,
        network=asdict(network),
        seed=seed,
        steps=last.step,
        epochs=last.epoch,
        processor_minutes=last.minutes,
        validation=curve,
        selection=selection,
        test=test["model"],
    )
    write_text(made.path / DONE_FILE, json.dumps({"test_dice": test["model"]["dice"]["mean"]}) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data set")
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=25, help="budget: processor minutes of training")
    parser.add_argument("--select-minutes", type=float, default=2, help="processor minutes per candidate, first round")
    parser.add_argument("--candidate", help="train this one without a selection; a wrong name lists them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    args = parser.parse_args(arguments)
    if min(args.minutes, args.select_minutes) <= 0:
        parser.error("--minutes and --select-minutes must be positive")
    torch.set_num_threads(args.threads)
    try:
        run(args.data, args.out, args.minutes, args.select_minutes, args.candidate, args.seed)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
