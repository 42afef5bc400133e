"""Events of a log: jumps, falls and anomalies of the loss, and how steady it was."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from statistics import stdev

import numpy as np
from jaxtyping import Float64

from flowseg.reports.compare.log import Row, RunLog

STEP = 0.005
"""Dice: a new best by this much is a jump, a drop by this much is a fall; as in the published report."""

OUTLIER = 5.0
"""A loss is an anomaly if it lies more than this many robust standard deviations above its neighbours. The usual 3.5
(Iglewicz and Hoaglin 1993) would flag an epoch in every second healthy run of 500 epochs."""

_REACH = 7  # epochs on each side that a loss is compared with: a window of 15
_SPREAD_REACH = 15  # epochs on each side from which the scatter of the losses is estimated
_MAD_TO_SD = 1.4826  # of a normal distribution
_ROUNDING = 1e-9  # in binary 0.813 - 0.808 is a little less than 0.005


@dataclass(frozen=True)
class Change:
    """A jump or a fall of Dice at an epoch."""

    epoch: int
    before: float
    """Jump: the best so far. Fall: the value before."""
    after: float
    from_epoch: int
    """The epoch of `before`."""
    across_hole: bool
    """Whether epochs in between are missing, so that its exact date is not known."""

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Anomaly:
    """A loss far above those around it, with the measurements of Dice before and after."""

    epoch: int
    loss: float
    usual: float
    """The median of the neighbouring losses."""
    before: Row | None
    after: Row | None


@dataclass(frozen=True)
class Steadiness:
    """How much a log goes up and down; None if there are too few values."""

    dice_steps: int
    """Changes from one measurement to the next."""
    dice_step_sd: float | None
    """Their standard deviation."""
    drawdown: float | None
    """Largest drop of a measurement below the best before it."""
    loss_scatter: float | None
    """Robust standard deviation of the losses about their running median."""


def jumps(log: RunLog) -> list[Change]:
    """New bests by `STEP` or more."""
    found: list[Change] = []
    best: Row | None = None
    for row in log.dices:
        assert row.dice is not None
        if best is None or best.dice is None:
            best = row
        elif row.dice > best.dice:
            if row.dice - best.dice >= STEP - _ROUNDING:
                found.append(_change(log, best, row))
            best = row
    return found


def falls(log: RunLog) -> list[Change]:
    """Drops by `STEP` or more from one epoch with a Dice value to the next."""
    return [
        _change(log, a, b)
        for a, b in pairwise(log.dices)
        if a.dice is not None and b.dice is not None and a.dice - b.dice >= STEP - _ROUNDING
    ]


def _change(log: RunLog, before: Row, after: Row) -> Change:
    assert before.dice is not None and after.dice is not None
    place = bisect_left(log.dices, after.epoch, key=lambda row: row.epoch)
    previous = log.dices[place - 1].epoch if place else before.epoch
    return Change(after.epoch, before.dice, after.dice, before.epoch, log.has_hole(previous, after.epoch))


def residuals(losses: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Losses minus their running median.

    Near an end the window shrinks on both sides, so that a steady decline has no residuals there either.
    """
    n = len(losses)
    reach = [min(_REACH, i, n - 1 - i) for i in range(n)]
    return np.array([losses[i] - np.median(losses[i - r : i + r + 1]) for i, r in enumerate(reach)])


def loss_anomalies(log: RunLog) -> list[Anomaly]:
    """Losses more than `OUTLIER` robust standard deviations above the running median of their neighbours.

    The deviation is 1.4826 times the median absolute residual, of the neighbourhood or of the whole log, whichever is
    larger: early losses scatter more than late ones. Positive losses are judged by their logarithms, since they
    scatter in proportion to their size. The first and the last epoch, which have no neighbours on one side, are not
    judged, and neither is a log shorter than the median's window.
    """
    rows = [row for row in log.rows if row.loss is not None]
    losses = np.array([row.loss for row in rows], np.float64)
    if len(losses) < 2 * _REACH + 1:
        return []
    judged = np.log(losses) if (losses > 0).all() else losses
    off = residuals(judged)
    whole = max(float(np.median(np.abs(off))), 1e-6 * float(np.abs(judged).max()))  # a constant loss has no scatter
    found = []
    for i, row in enumerate(rows):
        near = np.median(np.abs(off[max(0, i - _SPREAD_REACH) : i + _SPREAD_REACH + 1]))
        if off[i] <= OUTLIER * _MAD_TO_SD * max(near, whole):
            continue
        place = bisect_right(log.measured, row.epoch, key=lambda m: m.epoch)
        before = log.measured[place - 1] if place else None
        after = log.measured[place] if place < len(log.measured) else None
        usual = float(np.median(losses[max(0, i - _REACH) : i + _REACH + 1]))
        found.append(Anomaly(row.epoch, float(losses[i]), usual, before, after))
    return found


def steadiness(log: RunLog) -> Steadiness:
    """Ups and downs of the measurements and of the loss."""
    dices = [row.dice for row in log.measured if row.dice is not None]
    steps = [b - a for a, b in pairwise(dices)]
    drops = np.maximum.accumulate(dices) - dices if dices else np.zeros(0)
    losses = np.array([row.loss for row in log.rows if row.loss is not None], np.float64)
    return Steadiness(
        len(steps),
        stdev(steps) if len(steps) > 1 else None,
        float(drops.max()) if len(dices) > 1 else None,
        float(_MAD_TO_SD * np.median(np.abs(residuals(losses)))) if len(losses) > 2 * _REACH else None,
    )
