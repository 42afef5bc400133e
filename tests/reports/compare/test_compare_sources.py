"""Which runs an argument names, which of them form a group, and their names."""

from pathlib import Path

import published
import pytest
from made_runs import make_run
from refusals import refusal

from flowseg.reports.compare.scores import read_scores
from flowseg.reports.compare.sources import arrange, distinct_names, only_seeds_differ
from flowseg.runs.folder import open_run

FILM = {"model": {"dim": 8, "heads": 1, "head_dim": 8, "film": {"stages": [0]}}, "name": "film"}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two set-ups of two seeds each."""
    for seed in (0, 1):
        make_run(tmp_path / "base" / f"seed{seed}", seed=seed)
        make_run(tmp_path / "film" / f"seed{seed}", seed=seed, config=FILM)
    (tmp_path / "film" / "notes").mkdir()
    (tmp_path / "film" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(*arguments: str) -> list[tuple[str, list[str]]]:
    return [(group.name, [log.name for log in group.logs]) for group in arrange(arguments)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("base", "film"),
        ("base/*", "film/*"),
        (f"{'{0}'}/base/seed?", "film/seed[01]"),
        ("base/seed0", "base/seed1", "film/seed0", "film/seed1"),
        ("base/seed0", "film/seed0", "base/seed1", "film/seed1"),
        ("base", "film/seed0", "film/seed1"),
    ],
    ids=["folders", "patterns", "absolute pattern", "one by one", "mixed", "both ways"],
)
def test_seeds_of_one_set_up_form_a_group(runs: Path, arguments: tuple[str, ...]) -> None:
    found = arrange([argument.format(runs) for argument in arguments])
    assert [[log.path.resolve().relative_to(runs).as_posix() for log in group.logs] for group in found] == [
        ["base/seed0", "base/seed1"],
        ["film/seed0", "film/seed1"],
    ]
    assert [group.seeds for group in found] == [[0, 1], [0, 1]]
    assert not only_seeds_differ(*found)


def test_groups_are_called_after_folder_pattern_or_config(runs: Path) -> None:
    assert [name for name, _ in named("base", "film/*")] == ["base", "film"]
    assert [name for name, _ in named("film/seed*", "base/seed0")] == ["seed", "base/seed0"]
    one_by_one = named("base/seed0", "base/seed1", "film/seed0", "film/seed1")
    assert [name for name, _ in one_by_one] == ["baseline", "film"]


def test_runs_of_one_set_up_are_compared_with_each_other(runs: Path) -> None:
    for arguments in (("base/seed0", "base/seed1"), ("base",), ("base/*",)):
        found = arrange(arguments)
        assert [(group.name, len(group.logs)) for group in found] == [("seed0", 1), ("seed1", 1)]
        assert only_seeds_differ(*found)


def test_a_folder_of_two_set_ups_gives_two_groups(runs: Path) -> None:
    for path in ("base/seed0", "base/seed1"):
        (runs / path).rename(runs / "film" / path.replace("/", "-"))
    assert named("film") == [("baseline", ["base-seed0", "base-seed1"]), ("film", ["seed0", "seed1"])]


def test_names_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "b" / "y.csv", tmp_path / "b.2" / "z"]
    assert list(distinct_names(paths).values()) == ["a/x", "b/x", "y", "z"]
    assert list(distinct_names([tmp_path / "run", tmp_path / "run.csv"]).values()) == ["run", "run.csv"]


def test_csvs_stand_alone(runs: Path) -> None:
    published.write_both(runs)
    assert named("*.csv") == [("VLM-FiLM", ["VLM-FiLM"]), ("baseline", ["baseline"])]
    assert [name for name, _ in named("baseline.csv", "base", "VLM-FiLM.csv")] == ["baseline", "base", "VLM-FiLM"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no run given; a comparison takes two or more"),
        (("base/seed0",), "1 run given; a comparison takes two or more"),
        (("base/seed0", "base/../base/seed0"), "is named twice"),
        (("base", "base/seed1"), "is named twice"),
        (("base", "gone"), "gone: no such run folder or CSV"),
        (("base", "film/notes"), "film/notes: no run there (no config.json), nor in its folders"),
        (("base", "gone/*"), "gone/*: matches no run folder and no CSV"),
        (("base/*", "film/notes*"), "film/notes*: matches no run folder and no CSV"),
    ],
)
def test_what_names_no_run_is_refused(runs: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in refusal(lambda: arrange(arguments))


def test_one_seed_twice_in_a_group_is_refused(runs: Path) -> None:
    make_run(runs / "base" / "again", seed=0)
    assert "has the config and the seed (0) of" in refusal(lambda: arrange(["base", "film"]))
    (runs / "base" / "again").rename(runs / "again")
    # Side by side they can be compared: something other than the config must differ.
    assert not only_seeds_differ(*arrange(["base/seed0", "again"]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "no object"),
        ('{"threshold": "x"}', "threshold = x"),
        ('{"min_component": true}', "min_component = True"),
        ('{"sampler": null}', "sampler = None"),
        ('{"frangi": [1]}', "frangi = [1]"),
        ('{"seconds": Infinity}', "Out of range float values"),
    ],
)
def test_a_damaged_description_of_scores_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    run = make_run(tmp_path / "run", scores={"dice": [0.5, 0.6]})
    file = run / "eval" / "test" / "metrics.json"
    file.write_text(content)
    message = refusal(lambda: read_scores(open_run(run)))
    assert message.startswith(f"{file}: is not about an evaluation ({reason}")
    assert message.endswith(f"make it again with: flowseg eval {run}")
