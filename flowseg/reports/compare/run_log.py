"""What flowseg's own runs logged (metrics.jsonl), by epoch."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from flowseg.errors import UserError
from flowseg.reports.compare.log import Row, RunLog
from flowseg.runs.folder import Run
from flowseg.runs.log import METRICS_FILE, read_metrics


def read_run_log(run: Run, name: str, lines: list[dict[str, Any]] | None = None) -> RunLog:
    """A run's training loss averaged over each epoch, and its validation Dice where it was measured.

    Epochs count from 1: epoch e is steps (e - 1) S + 1 to e S of S steps per epoch. A line that covers steps of two
    epochs counts in each by its number of steps there. Nothing is carried forward. `lines`: those of metrics.jsonl, if
    they have been read already.

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
    per_epoch = max(round(latest["step"] / latest["epoch"]), 1)
    for line in lines:
        if abs(line["step"] / per_epoch - line["epoch"]) > 1:
            raise UserError(
                f"{file}: is not a run's log (step {line['step']} is epoch {line['epoch']}, but step {latest['step']} "
                f"is epoch {latest['epoch']}); restore it, or remove the wrong line"
            )
    losses = _losses([line for line in lines if line["kind"] == "train"], per_epoch)
    dices = {round(line["epoch"]): float(line["dice"]) for line in lines if line["kind"] == "val"}
    return tuple(
        Row(epoch, losses.get(epoch), dices.get(epoch), epoch if epoch in dices else None)
        for epoch in sorted(losses.keys() | dices.keys())
    )


def _losses(lines: list[dict[str, Any]], per_epoch: int) -> dict[int, float]:
    """Mean loss of each epoch that has one, weighted by steps."""
    total: dict[int, float] = defaultdict(float)
    steps: dict[int, int] = defaultdict(int)
    for line in lines:
        if line["loss"] is None:  # no step of it had a finite loss
            continue
        first, last = line["step"] - line["steps"], line["step"]
        for epoch in range(first // per_epoch + 1, (last - 1) // per_epoch + 2):
            shared = min(last, epoch * per_epoch) - max(first, (epoch - 1) * per_epoch)
            total[epoch] += shared * line["loss"]
            steps[epoch] += shared
    return {epoch: total[epoch] / steps[epoch] for epoch in total}
