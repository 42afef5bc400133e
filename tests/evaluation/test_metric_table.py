"""Every metric has one row that describes it, and the pages agree with the table."""

from pathlib import Path

import numpy as np
import pytest

from flowseg.evaluation.metric_table import (
    IMAGE_METRICS,
    OTHER_COLUMNS,
    Metric,
    is_better,
    metric,
    on_terminal,
    with_metrics,
)

ROOT = Path(__file__).resolve().parents[2]
ROWS = (*IMAGE_METRICS, *OTHER_COLUMNS)


def test_keys_and_names_are_unique() -> None:
    for of in (lambda row: row.key, lambda row: row.name("en"), lambda row: row.name("ko")):
        assert len({of(row) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", IMAGE_METRICS, ids=lambda row: row.key)
def test_a_metric_is_computed_by_one_function_and_described(row: Metric) -> None:
    assert (row.of_masks is None) != (row.of_probability is None)
    assert row.better and row.definition and row.if_empty and metric(row.key) is row


def test_every_value_that_a_function_computes_has_a_row() -> None:
    mask = np.eye(5, dtype=bool)
    found = [row.of_masks(mask, mask) for row in IMAGE_METRICS if row.of_masks]
    found += [row.of_probability(mask.astype(np.float32), mask) for row in IMAGE_METRICS if row.of_probability]
    assert {key for values in found for key in values} == {row.key for row in IMAGE_METRICS}


def test_a_column_of_another_tool_is_called_by_its_key_and_ranks_nothing() -> None:
    row = metric("mystery")
    assert row.name("en") == row.name("ko") == "mystery" and row.better is None
    assert not is_better("mystery", 1, 0) and not is_better("mystery", 0, 1)


def test_the_direction_decides_which_value_is_better() -> None:
    assert is_better("dice", 0.8, 0.7) and not is_better("dice", 0.7, 0.8)
    assert is_better("hd95", 3.0, 5.0) and not is_better("hd95", 5.0, 3.0)
    assert not is_better("dice", 0.7, 0.7) and not is_better("hd95", 3.0, 3.0)


def test_the_terminal_shows_each_row_at_its_own_place() -> None:
    places = [row.terminal for row in on_terminal()]
    assert len(set(places)) == len(places) < len(IMAGE_METRICS)


@pytest.mark.parametrize("page", ["README.md", "docs/evaluation.md"])
def test_the_pages_hold_the_table_as_it_is(page: str) -> None:
    """If this fails: python -m flowseg.evaluation.metric_table README.md docs/evaluation.md"""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- metrics: " in text and with_metrics(text) == text
