"""What flowseg's own runs logged (metrics.jsonl), by epoch."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from flowseg.errors import UserError
from flowseg.progress import console
from flowseg.reports.compare.log import Row, RunLog
from flowseg.runs.folder import Run
from flowseg.runs.log import METRICS_FILE, read_metrics

_APART = 0.01
"""A line's epoch may differ from that of its step by this share, or by this much in the first epoch."""


def read_run_log(run: Run, name: str, lines: list[dict[str, Any]] | None = None) -> RunLog:
    """A run's training loss averaged over each epoch, and its validation Dice where it was measured.

    Epochs count from 1, and a step or a validation belongs to the epoch in which it ends. Another program's epochs may
    end within a step. A line that covers steps of several epochs counts in each by its number of steps there. Nothing
    is carried forward. `lines`: those of metrics.jsonl, if they have been read already.

    Raises:
        UserError: metrics.jsonl is not as flowseg writes it.
    """
    if run.exported is not None:
        raise UserError(f"{run.path}: is an exported model, which has no log and no scores; give the run it came from")
    lines = read_metrics(run.path) if lines is None else lines
    return RunLog(name, run.path, _rows(lines, run.path / METRICS_FILE), False, run)


def _rows(lines: list[dict[str, Any]], file: Path) -> tuple[Row, ...]:
    if not lines:
        return ()
    latest = max(lines, key=lambda line: (line["epoch"], line["step"]))
    per_epoch = latest["step"] / latest["epoch"]
    for line in lines:
        if abs(line["step"] / per_epoch - line["epoch"]) > _APART * max(line["epoch"], 1):
            raise UserError(
                f"{file}: is not a run's log (step {line['step']} is epoch {line['epoch']}, but step {latest['step']} "
                f"is epoch {latest['epoch']}); restore it, or remove the wrong line"
            )
    losses = _losses([line for line in lines if line["kind"] == "train"], per_epoch)
    measured = [line for line in lines if line["kind"] == "val"]
    dices = {math.ceil(line["epoch"]): float(line["dice"]) for line in measured}
    if len(dices) < len(measured):
        console.print(f"NOTE: {file}: an epoch with several validations counts with the last of them")
    return tuple(
        Row(epoch, losses.get(epoch), dices.get(epoch), epoch if epoch in dices else None)
        for epoch in sorted(losses.keys() | dices.keys())
    )


def _losses(lines: list[dict[str, Any]], per_epoch: float) -> dict[int, float]:
    """Mean loss of each epoch that has one, weighted by steps."""
    total: dict[int, float] = defaultdict(float)
    steps: dict[int, int] = defaultdict(int)

    def last_step(epoch: int) -> int:
        # The steps per epoch are known from an epoch that was logged with four decimals.
        return math.floor(epoch * per_epoch + min(1e-4 * per_epoch, 0.5))

    for line in lines:
        if line["loss"] is None:  # no step of it had a finite loss
            continue
        first, last = line["step"] - line["steps"], line["step"]
        for epoch in range(math.floor(first / per_epoch), math.ceil(last / per_epoch) + 1):
            shared = min(last, last_step(epoch)) - max(first, last_step(epoch - 1))
            if shared > 0:
                total[epoch] += shared * line["loss"]
                steps[epoch] += shared
    return {epoch: total[epoch] / steps[epoch] for epoch in total}
