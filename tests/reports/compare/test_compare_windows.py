"""Windows cover the log by their rule; means are over the logged values."""

import pytest

from flowseg.reports.compare.log import RunLog, with_sources
from flowseg.reports.compare.windows import early, early_phase, window_bounds, windows


def log(name: str, values: list[tuple[int, float | None, float | None]]) -> RunLog:
    from pathlib import Path

    rows, carried = with_sources(values)
    return RunLog(name, Path(name), rows, carried, None)


@pytest.mark.parametrize("length", [2, 7, 15])
@pytest.mark.parametrize("first", [0, 1, 13, 14, 15, 29])
@pytest.mark.parametrize("span", [1, 2, 7, 8, 14, 15, 16, 22, 23, 107])
def test_windows_cover_every_epoch_once(length: int, first: int, span: int) -> None:
    last = first + span - 1
    bounds = window_bounds(first, last, length)
    assert [e for start, end in bounds for e in range(start, end + 1)] == list(range(first, last + 1))
    assert all((end + 1) % length == 0 for _, end in bounds[:-1])
    if len(bounds) > 1:
        sizes = [end - start + 1 for start, end in bounds]
        assert all(2 * size >= length for size in sizes) and max(sizes) < 2 * length
        assert all(size == length for size in sizes[1:-1])


def test_the_rule_s_own_example() -> None:
    published = [(14, 29), (30, 44), (45, 59), (60, 74), (75, 89), (90, 104), (105, 120)]
    assert window_bounds(14, 120) == published
    assert window_bounds(1, 20) == [(1, 20)]  # 15 to 20 are fewer than half a window
    assert window_bounds(1, 22) == [(1, 14), (15, 22)]


def test_a_window_within_a_hole_is_left_out_and_so_is_the_change_over_it() -> None:
    values = [(e, 0.1, 0.5 + e / 1000) for e in (*range(0, 30), *range(60, 90))]
    found = windows(log("a", values))
    assert [(w.start, w.end) for w in found] == [(0, 14), (15, 29), (60, 74), (75, 89)]
    assert [w.change is None for w in found] == [True, False, True, False]
    assert found[1].change == pytest.approx(0.015)


def test_missing_values_are_left_out_of_means() -> None:
    values = [(e, 0.2 if e % 2 else None, 0.6 if e == 3 else 0.7 if e == 8 else None) for e in range(10)]
    (window,) = windows(log("a", values))
    assert (
        window.mean_dice == pytest.approx(0.65) and window.best_dice == 0.7 and window.mean_loss == pytest.approx(0.2)
    )
    assert (window.values, window.measurements) == (2, 2)
    (without,) = windows(log("b", [(e, 0.2, None) for e in range(5)]))
    assert without.mean_dice is None and without.measurements == 0


def test_the_early_phase_is_what_all_logs_share_up_to_a_hole() -> None:
    a = log("a", [(e, 0.1, 0.5 + e / 1000) for e in (*range(3, 12), *range(40, 60))])
    b = log("b", [(e, 0.1, 0.5 + e / 1000) for e in range(5, 60)])
    assert early_phase([a, b]) == (5, 11)
    assert early_phase([b, b]) == (5, 19)  # one window at most
    assert early_phase([a, log("c", [(e, 0.1, 0.5) for e in range(100, 110)])]) is None
    found = early(a, 5, 11)
    assert found.values == found.measurements == 7 and found.mean_dice == pytest.approx(0.508)
    assert found.loss_variance == pytest.approx(0)
