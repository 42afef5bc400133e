"""Values carried forward are recognised in any rhythm, chance ties are not taken for them, and holes are found."""

import numpy as np
import pytest

from flowseg.reports.compare.log import Hole, holes, with_sources


def log(dices: dict[int, float | None]) -> tuple[list[int], bool]:
    """Epochs that are measurements, and whether values were carried forward."""
    rows, carried = with_sources([(epoch, 0.1, dice) for epoch, dice in sorted(dices.items())])
    return [row.epoch for row in rows if row.measured], carried


@pytest.mark.parametrize("every", [2, 3, 5, 15, 40])
@pytest.mark.parametrize("start", [0, 1, 14])
def test_any_rhythm_is_recognised(every: int, start: int) -> None:
    rng = np.random.default_rng(every)
    values = {e: round(float(d), 4) for e, d in zip(range(0, 20 * every, every), rng.random(20), strict=True)}
    # The log begins and ends in the middle of a block.
    logged = range(start, 19 * every + max(1, every // 2))
    measured, carried = log({e: values[e - e % every] for e in logged})
    assert carried
    assert measured == [logged[0], *[e for e in values if e > logged[0]]]


def test_a_rhythm_in_steps_is_not_quite_regular() -> None:
    """Every 1000 steps of 26 per epoch: 38 or 39 epochs."""
    at = [0, *(-(-1000 * i // 26) for i in range(1, 8))]
    values = dict(zip(at, np.linspace(0.5, 0.8, 8), strict=True))
    measured, carried = log({e: float(values[max(a for a in at if a <= e)]) for e in range(at[-1] + 5)})
    assert carried and measured == at


def test_a_restart_breaks_the_rhythm_once() -> None:
    at = [0, 10, 20, 30, 33, 43, 53, 63, 73]
    values = dict(zip(at, np.linspace(0.5, 0.8, 9), strict=True))
    measured, carried = log({e: float(values[max(a for a in at if a <= e)]) for e in range(80)})
    assert carried and measured == at


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_chance_ties_are_no_rhythm(seed: int, decimals: int) -> None:
    """Every epoch measured; on a plateau two decimals tie again and again."""
    noise = np.random.default_rng(seed).normal(0, 0.004, 120)
    dices = {e: round(float(0.8 + d), decimals) for e, d in enumerate(noise)}
    measured, carried = log(dices)
    assert not carried and measured == list(dices)


def test_an_empty_start_is_no_rhythm() -> None:
    """A network that finds nothing scores exactly 0, epoch after epoch."""
    dices = {e: 0.0 if e < 6 else 0.1 + 0.01 * e for e in range(40)}
    measured, carried = log(dices)
    assert not carried and len(measured) == 40


def test_values_with_blanks_between_are_measurements() -> None:
    measured, carried = log({e: 0.5 + e / 1000 if e % 15 == 0 else None for e in range(100)})
    assert not carried and measured == [e for e in range(100) if e % 15 == 0]


def test_one_value_all_along_is_one_measurement() -> None:
    assert log(dict.fromkeys(range(20), 0.7)) == ([0], True)


def test_two_equal_validations_in_a_row_count_once() -> None:
    """Nothing in the values tells them apart: the count errs towards fewer."""
    values = [0.5, 0.6, 0.6, 0.7, 0.65, 0.72]
    measured, carried = log({e: values[e // 10] for e in range(60)})
    assert carried and measured == [0, 10, 30, 40, 50]


def test_holes_are_wider_than_the_usual_step() -> None:
    assert holes([14, 15, 16, 17, 430, 431]) == [Hole(18, 429)]
    assert holes([1, 2, 4, 5, 6]) == [Hole(3, 3)]
    assert holes([0, 5, 10, 15, 30, 35]) == [Hole(16, 29)]
    assert holes([5, 10, 15, 20]) == [] and holes([3]) == [] and holes([]) == []
