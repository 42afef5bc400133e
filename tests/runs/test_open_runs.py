"""Several runs as one: which may be, whose mask rule they have, and what their probability is."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_runs import NARROW
from refusals import refusal

from flowseg.config import Config
from flowseg.config_values import from_dict
from flowseg.runs.ensemble import common_rule, open_runs, open_together, scored_together
from flowseg.runs.folder import create_run
from flowseg.runs.trained import Trained
from flowseg.sampling.mask import MaskRule
from flowseg.sampling.segment import Segmentation, pooled

CONFIG = from_dict(Config, {"model": NARROW})


def run(folder: Path, seed: int = 0, fold: str | None = None, **changes: object) -> None:
    changed = replace(CONFIG, seed=seed, data=replace(CONFIG.data, fold=fold), **changes)  # type: ignore[arg-type]
    create_run(folder, changed, None)


def test_a_folder_of_folds_and_seeds_is_one(tmp_path: Path) -> None:
    for seed, fold in ((0, "1/2"), (0, "2/2"), (1, "1/2")):
        run(tmp_path / f"seed-{seed}-fold-{fold[0]}", seed, fold)
    (tmp_path / "eval").mkdir()
    names = ["seed-0-fold-1", "seed-0-fold-2", "seed-1-fold-1"]
    assert [one.path.name for one in open_runs(tmp_path)] == names
    assert [one.path for one in open_runs(tmp_path / names[1])] == [tmp_path / names[1]]


@pytest.mark.parametrize("other", [{"fold": None}, {"fold": "2/3"}, {"precision": "bf16"}])
def test_other_runs_beside_them_are_refused(tmp_path: Path, other: dict[str, object]) -> None:
    run(tmp_path / "a", fold="1/2")
    run(tmp_path / "b", **{"fold": "2/2", **other})  # type: ignore[arg-type]
    told = refusal(lambda: open_runs(tmp_path))
    assert f"{tmp_path}: its runs are not of one config (a and b: " in told


@pytest.mark.parametrize(("finished", "told"), [("ab", ""), ("a", "b: not finished"), ("", "a, b: not finished")])
def test_runs_whose_training_has_not_ended_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    finished: str,
    told: str,
) -> None:
    for seed, name in enumerate("ab"):
        run(tmp_path / name, seed)
    for name in finished:
        (tmp_path / name / "done.json").write_text("{}")
    monkeypatch.setattr(Trained, "open", lambda run, settings, embeddings: SimpleNamespace(run=run, best_dice=0.5))
    runs = open_runs(tmp_path)
    assert [one.run for one in open_together(runs, CONFIG.eval)] == runs
    out = capsys.readouterr().out
    assert f"{tmp_path}: {told}" in out if told else out == ""
    open_together(runs[1:], CONFIG.eval)  # one alone was asked for by its name
    assert capsys.readouterr().out == ""


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}: no run there" in refusal(lambda: open_runs(tmp_path))


def scored(folder: Path, about: dict[str, object]) -> None:
    (folder / "eval" / "test").mkdir(parents=True, exist_ok=True)
    (folder / "eval" / "test" / "metrics.json").write_text(json.dumps(about))


@pytest.fixture
def together(tmp_path: Path) -> Path:
    """Two finished runs, scored alone and then as one."""
    members = [{"run": name, "step": 7, "val_dice": dice} for name, dice in (("a", 0.5), ("b", 0.6))]
    for k, member in enumerate(members, 1):
        run(tmp_path / str(member["run"]), fold=f"{k}/2")
        scored(tmp_path / str(member["run"]), member)
        (tmp_path / str(member["run"]) / "done.json").write_text("{}")
    scored(tmp_path, {"members": members})
    assert scored_together(tmp_path)
    return tmp_path


def test_a_run_that_is_gone_or_new_makes_the_scores_of_all_out_of_date(together: Path) -> None:
    shutil.copytree(together / "b", together / "c")
    assert not scored_together(together)
    shutil.rmtree(together / "c")
    shutil.rmtree(together / "b")
    assert not scored_together(together)


def test_another_run_in_the_place_of_one_makes_them_out_of_date(together: Path) -> None:
    """Also if its files are older, as those of a copy may be."""
    scored(together / "b", {"step": 7, "val_dice": 0.61})
    assert not scored_together(together)
    scored(together / "b", {"step": 7, "val_dice": 0.6})
    assert scored_together(together)
    later = (together / "eval/test/metrics.json").stat().st_mtime_ns + 1
    os.utime(together / "b" / "done.json", ns=(later, later))
    assert not scored_together(together)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"members": []}', '{"members": [{"run": "a"}, {"run": "b"}]}'])
def test_scores_that_do_not_say_of_which_runs_they_are_are_out_of_date(together: Path, text: str) -> None:
    (together / "eval/test/metrics.json").write_text(text)
    assert not scored_together(together)


def test_the_rule_is_the_mean_threshold_and_the_median_part() -> None:
    rules = [MaskRule(0.4, 0), MaskRule(0.5, 300), MaskRule(0.6, 40), MaskRule(0.5, 30)]
    members = [SimpleNamespace(rule=rule) for rule in rules]
    assert common_rule(members) == MaskRule(0.5, 30)  # type: ignore[arg-type]
    assert common_rule(members[2:3]) == rules[2]  # type: ignore[arg-type]


def test_the_probability_is_the_mean_over_all_samples_of_all_runs() -> None:
    rng = np.random.default_rng(0)
    made = [[Segmentation(rng.random((2, 4, 5), np.float32)) for _ in range(3)] for _ in range(4)]
    for i, found in enumerate(pooled([iter(one) for one in made])):
        expected = np.mean([one[i].probability for one in made], axis=0)
        np.testing.assert_allclose(found.probability, expected, atol=1e-6)
        assert found.uncertainty is not None and len(found.samples) == 8
    (alone,) = pooled([iter(made[0][:1])])
    assert alone is made[0][0]
