"""Drawing splits: whole groups, the shares that were asked for, the same for the same seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from refusals import refusal

from flowseg.datasets.cases import Case, FileLabel
from flowseg.datasets.source import SourceFile
from flowseg.datasets.splits import draw_splits

SHARES = {"val": 0.1, "test": 0.2}


def cases(groups: Sequence[int], split: str | None = None) -> list[Case]:
    """Images of groups of the given sizes."""
    file = SourceFile(Path("a.png"), "a.png", 0, lambda: None)  # type: ignore[arg-type, return-value]
    return [
        Case(f"{group}_{n}", file, FileLabel((file,)), split=split, group=str(group))
        for group, size in enumerate(groups)
        for n in range(size)
    ]


def counts(drawn: Sequence[Case]) -> Counter[str | None]:
    return Counter(case.split for case in drawn)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_groups_stay_whole_and_shares_are_kept(size: int) -> None:
    drawn = draw_splits(cases([size] * 100), SHARES, seed=3)
    assert counts(drawn) == {"train": 70 * size, "val": 10 * size, "test": 20 * size}
    assert len({(case.group, case.split) for case in drawn}) == 100


def test_uneven_groups_stay_whole() -> None:
    drawn = draw_splits(cases([1, 7, 2, 9, 3, 3, 1, 8, 2, 4]), SHARES, seed=1)
    assert len({(case.group, case.split) for case in drawn}) == 10
    assert counts(drawn)["val"] >= 4 and counts(drawn)["test"] >= 8


def test_the_seed_decides() -> None:
    def tests(seed: int) -> set[str]:
        return {case.stem for case in draw_splits(cases([1] * 30), SHARES, seed) if case.split == "test"}

    assert tests(0) == tests(0)
    assert len({frozenset(tests(seed)) for seed in range(5)}) > 1


def test_published_splits_are_kept() -> None:
    published = cases([1] * 4, "test") + cases([1] * 20, "train")
    drawn = draw_splits(published, {"val": 0.1}, seed=0)
    assert counts(drawn) == {"test": 4, "train": 18, "val": 2}
    assert [case.split for case in drawn[:4]] == ["test"] * 4


@pytest.mark.parametrize(
    ("groups", "shares", "expected"),
    [
        ([1, 1, 1], SHARES, {"train": 1, "val": 1, "test": 1}),
        ([5, 5, 5], {"val": 0.9, "test": 0.05}, {"train": 5, "val": 5, "test": 5}),
        ([1] * 10, {"val": 0.0, "test": 0.3}, {"train": 7, "test": 3}),
        ([1] * 10, {}, {"train": 10}),
    ],
)
def test_no_split_is_left_empty(groups: list[int], shares: Mapping[str, float], expected: dict[str, int]) -> None:
    assert counts(draw_splits(cases(groups), shares, seed=0)) == expected


def test_too_few_groups_are_refused() -> None:
    assert "2 groups of images" in refusal(lambda: draw_splits(cases([40, 40]), SHARES, seed=0))
    assert "no images for training" in refusal(lambda: draw_splits(cases([1] * 5, "test"), SHARES, seed=0))
