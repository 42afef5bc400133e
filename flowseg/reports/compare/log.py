"""What a run logged, epoch by epoch, and which of its Dice values are measurements.

Some tools validate every k epochs but log a value for every epoch, repeating the last one in between. Such values are
called carried forward: they add nothing to the measurement before them.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from pathlib import Path
from statistics import median, median_low

from flowseg.runs.folder import Run

MIN_REPEATS = 3
"""Fewer repeated values may be chance, if Dice is logged with few decimals."""

REGULAR = 0.8
"""The share of blocks of equal values that must have one length, or a multiple of it, to count as carried forward. A
restart may break the rhythm once; chance ties have no rhythm."""

_HOLE = 1.5  # times the usual distance between logged epochs


@dataclass(frozen=True)
class Row:
    """One logged epoch; None where nothing was logged."""

    epoch: int
    loss: float | None
    dice: float | None
    measured_at: int | None
    """Epoch of the measurement that `dice` comes from: an earlier one where the value was carried forward."""

    @property
    def measured(self) -> bool:
        """Whether the Dice value was measured at this epoch."""
        return self.dice is not None and self.measured_at == self.epoch


@dataclass(frozen=True)
class Hole:
    """First and last epoch of a stretch in which nothing was logged."""

    start: int
    end: int


@dataclass(frozen=True)
class RunLog:
    """A run as it is compared: a run folder, or the log of another tool."""

    name: str
    path: Path
    rows: tuple[Row, ...]
    """Epochs ascending; none for a run that was imported rather than trained."""
    carried_forward: bool
    run: Run | None
    """None for a CSV: its config and its test scores are not known."""

    @cached_property
    def epochs(self) -> list[int]:
        return [row.epoch for row in self.rows]

    @property
    def ours(self) -> bool:
        """Whether flowseg trained it, so that its options exist there."""
        return self.run is not None and self.run.network is None

    @property
    def planned(self) -> int | None:
        """Epochs that the run was to take; None where it is not known."""
        return self.run.config.train.epochs if self.run is not None and self.ours else None

    @cached_property
    def dices(self) -> list[Row]:
        """Rows with a Dice value, carried forward or not."""
        return [row for row in self.rows if row.dice is not None]

    @cached_property
    def measured(self) -> list[Row]:
        """Rows whose Dice was measured there."""
        return [row for row in self.rows if row.measured]

    @property
    def best(self) -> Row | None:
        """The measurement with the highest Dice, the first of equal ones."""
        return max(self.measured, key=lambda row: row.dice or 0.0, default=None)

    @property
    def best_dice(self) -> float | None:
        return self.best.dice if self.best is not None else None

    @property
    def last(self) -> Row | None:
        """The last row with a Dice value."""
        return self.dices[-1] if self.dices else None

    def has_hole(self, after: int, before: int) -> bool:
        """Whether a hole, in all that was logged or in Dice alone, begins between two epochs."""
        return begins_between(self.holes, after, before) or begins_between(self.dice_holes, after, before)

    @property
    def every(self) -> int | None:
        """The usual number of epochs between measurements with no hole between them; None if there are no two."""
        pairs = [(a.epoch, b.epoch) for a, b in pairwise(self.measured)]
        distances = [b - a for a, b in pairs if not self.has_hole(a, b)]
        return int(median_low(distances)) if distances else None

    @cached_property
    def holes(self) -> list[Hole]:
        """Stretches in which nothing was logged."""
        return holes(self.epochs)

    @cached_property
    def dice_holes(self) -> list[Hole]:
        """Stretches longer than usual without a Dice value, in which something else was logged."""
        known = {(hole.start, hole.end) for hole in self.holes}
        return [hole for hole in holes([row.epoch for row in self.dices]) if (hole.start, hole.end) not in known]


def holes(epochs: Sequence[int]) -> list[Hole]:
    """Stretches without a logged epoch that are wider than the log's usual step (its lower median)."""
    steps = [b - a for a, b in pairwise(epochs)]
    if not steps:
        return []
    usual = median_low(steps)
    return [Hole(a + 1, b - 1) for a, b in pairwise(epochs) if b - a > _HOLE * usual]


def begins_between(gaps: Sequence[Hole], after: int, before: int) -> bool:
    """Whether one of the holes, which are in order, begins between two epochs."""
    place = bisect_right(gaps, after, key=lambda gap: gap.start)
    return place < len(gaps) and gaps[place].start < before


def with_sources(values: Sequence[tuple[int, float | None, float | None]]) -> tuple[tuple[Row, ...], bool]:
    """Returns the rows of a log that does not say which Dice values were measured, and whether some were not.

    The values are epoch, loss and Dice, epochs ascending.
    """
    dices = [(epoch, dice) for epoch, _, dice in values if dice is not None]
    carried = is_carried_forward(dices, holes([epoch for epoch, *_ in values]))
    rows: list[Row] = []
    source, before = None, None
    for epoch, loss, dice in values:
        if dice is None:
            rows.append(Row(epoch, loss, None, None))
            continue
        if not carried or dice != before:
            source, before = epoch, dice
        rows.append(Row(epoch, loss, dice, source))
    return tuple(rows), carried


def is_carried_forward(dices: Sequence[tuple[int, float]], gaps: Sequence[Hole]) -> bool:
    """Whether Dice values repeat in the rhythm of a validation every few epochs.

    Exactly equal neighbours form a block. The lengths of whole blocks (not the first or last, which the log's ends may
    cut, nor those beside a hole) must be two or more and share one length or its multiples; a tenth of it may differ,
    for validation every so many steps. A log with no whole block but `MIN_REPEATS` repeats counts as carried forward:
    that errs towards fewer measurements. The values are epoch and Dice, epochs ascending.
    """
    blocks = [[epoch for epoch, _ in block] for _, block in groupby(dices, key=lambda pair: pair[1])]
    if sum(len(block) - 1 for block in blocks) < MIN_REPEATS:
        return False
    whole = [
        len(block)
        for before, block, after in zip(blocks, blocks[1:], blocks[2:], strict=False)
        if not begins_between(gaps, before[-1], after[0])
    ]
    if not whole:
        return True
    usual = median(whole)
    regular = [abs(length - usual * max(1, round(length / usual))) <= usual // 10 for length in whole]
    return usual >= 2 and sum(regular) >= REGULAR * len(whole)
