"""The table that compares embeddings with their controls, for known scores."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_differences_are_paired_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from embedding_controls import interval, markdown, summary

    # Seeds differ much, and the arms by 0.01 for each seed: only the paired difference shows it.
    rows = summary({"baseline": [0.60, 0.70, 0.80], "random": [0.61, 0.71, 0.81]})
    assert [row["arm"] for row in rows] == ["baseline", "random"]
    assert rows[1]["mean"] == pytest.approx(0.71) and rows[1]["difference"] == pytest.approx(0.01)
    low, high = rows[1]["interval"]
    # Student's t with two degrees of freedom: 4.303 standard errors.
    assert (low, high) == pytest.approx((0.71 - 4.3027 * 0.1 / 3**0.5, 0.71 + 4.3027 * 0.1 / 3**0.5), abs=1e-4)
    narrow = rows[1]["difference_interval"]
    assert narrow == pytest.approx((0.01, 0.01), abs=1e-9)
    assert interval([0.7]) is None
    text = markdown(rows, [0, 1, 2])
    assert "| random | 0.6100, 0.7100, 0.8100 | 0.7100 [" in text and "+0.0100 [0.0100, 0.0100]" in text


def test_a_store_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of the name of a control would take its place in the table."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from embedding_controls import named_stores

    assert named_stores(["qwen=a=b", "shuffled=c"]) == {"qwen": "a=b", "shuffled": "c"}
    for given in (["random=x"], ["image-stats=x"], ["baseline=x"], ["qwen=x", "qwen=y"]):
        with pytest.raises(SystemExit, match=f"^--store {given[-1]}: there is a "):
            named_stores(given)
    for one in ("qwen", "qwen=", "=x"):
        with pytest.raises(SystemExit, match=f"^--store {one}: give NAME=FILE"):
            named_stores([one])
