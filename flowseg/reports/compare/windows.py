"""The course of Dice and loss in a log, window by window."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, variance

from flowseg.reports.compare.log import Row, RunLog, holes

LENGTH = 15
"""Epochs per window, as in the published report, which validated every 15 epochs."""


@dataclass(frozen=True)
class Window:
    """Epochs `start` to `end` of a log, both included."""

    start: int
    end: int
    mean_dice: float | None
    """Over the epochs that have a value, carried forward or not."""
    best_dice: float | None
    mean_loss: float | None
    change: float | None
    """Of the mean Dice, from the window before; None if there is no such window or it has no Dice."""
    values: int
    """Epochs with a Dice value."""
    measurements: int
    """The measurements that these values come from."""


@dataclass(frozen=True)
class Early:
    """One log over the early phase."""

    name: str
    mean_dice: float | None
    values: int
    measurements: int
    mean_loss: float | None
    loss_variance: float | None
    """Sample variance (n - 1) of the losses; None for fewer than two."""


def window_bounds(first: int, last: int, length: int = LENGTH) -> list[tuple[int, int]]:
    """Windows that end before multiples of `length`; a remainder at either end that is shorter than half of it joins
    its neighbour."""
    cuts = [first, *range((first // length + 1) * length, last + 1, length), last + 1]
    bounds = [(a, b - 1) for a, b in pairwise(cuts)]
    if len(bounds) > 1 and 2 * (bounds[0][1] - bounds[0][0] + 1) < length:
        bounds[:2] = [(bounds[0][0], bounds[1][1])]
    if len(bounds) > 1 and 2 * (bounds[-1][1] - bounds[-1][0] + 1) < length:
        bounds[-2:] = [(bounds[-2][0], bounds[-1][1])]
    return bounds


def windows(log: RunLog, length: int = LENGTH) -> list[Window]:
    """The log's windows; those within a hole are left out."""
    if not log.rows:
        return []
    found: list[Window] = []
    for start, end in window_bounds(log.epochs[0], log.epochs[-1], length):
        rows = log.rows[bisect_left(log.epochs, start) : bisect_right(log.epochs, end)]
        if not rows:
            continue
        dices = [row.dice for row in rows if row.dice is not None]
        mean = mean_of(dices)
        before = found[-1].mean_dice if found and found[-1].end + 1 == start else None
        change = mean - before if mean is not None and before is not None else None
        loss = mean_of(row.loss for row in rows)
        values = (max(dices, default=None), loss, change, len(dices), measurements(rows))
        found.append(Window(start, end, mean, *values))
    return found


def measurements(rows: Sequence[Row]) -> int:
    """The number of measurements behind the Dice values; one that was carried in from before counts."""
    return len({row.measured_at for row in rows if row.dice is not None})


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are there; None if none is."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def early_phase(logs: Sequence[RunLog], length: int = LENGTH) -> tuple[int, int] | None:
    """The first epochs that every log has: up to the first hole in any of them, and one window at most.

    None where they share no epoch.
    """
    common = shared_epochs(logs)
    if not common:
        return None
    gaps = holes(common)
    last = next((epoch for epoch in reversed(common) if not gaps or epoch < gaps[0].start), common[0])
    return common[0], min(last, common[0] + length - 1)


def shared_epochs(logs: Sequence[RunLog]) -> list[int]:
    """Epochs that every log has, ascending."""
    return sorted(set.intersection(*(set(log.epochs) for log in logs)))


def early(log: RunLog, start: int, end: int) -> Early:
    """Means of a log over epochs `start` to `end`."""
    rows = [row for row in log.rows if start <= row.epoch <= end]
    dices = [row.dice for row in rows if row.dice is not None]
    losses = [row.loss for row in rows if row.loss is not None]
    spread = variance(losses) if len(losses) > 1 else None
    return Early(log.name, mean_of(dices), len(dices), measurements(rows), mean_of(losses), spread)
