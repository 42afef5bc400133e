"""`flowseg eval`: the sampling options, and the run's own settings as their defaults."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SETTINGS, Flowseg, trained_run

from flowseg.data.dataset import Dataset
from flowseg.sampling.segment import Segmentation


def scores(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return content


@pytest.fixture
def unsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of where scores are written: the same ramp stands for the network's answer to every image."""

    def segment(sampler: object, params: object, images: Dataset) -> Iterator[Segmentation]:
        for image in images:
            ramp = np.linspace(0, 1, image.size[1], dtype=np.float32)
            yield Segmentation(np.tile(ramp, (1, image.size[0], 1)))

    monkeypatch.setattr("flowseg.evaluation.evaluate.segment", segment)


def test_another_sampler_s_scores_stand_beside_the_run_s_own(flowseg: Flowseg, run: Path) -> None:
    assert flowseg("eval", run).status == 0
    own = scores(run / "eval" / "test")
    assert own["sampler"] == asdict(SETTINGS)
    assert flowseg("eval", run, "--sampler", "heun", "--steps", 2).status == 0
    other = scores(run / "eval" / "test-sampler-heun-steps-2")
    assert other["sampler"] == asdict(replace(SETTINGS, sampler="heun", steps=2))
    assert other["model"]["brier"]["mean"] != own["model"]["brier"]["mean"]
    assert scores(run / "eval" / "test") == own


def test_another_data_set_s_scores_stand_beside_the_run_s_own(
    flowseg: Flowseg, run: Path, unsampled: None, tiny_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data, tmp_path / "a set")
    assert flowseg("eval", run, "--data", tiny_data).status == 0
    assert flowseg("eval", run, "--data", tmp_path / "a set").status == 0
    own, other = sorted((run / "eval").iterdir())
    assert own.name == "test" and other.name.startswith("test-of-a-set-")
    assert scores(other)["data"] == str(tmp_path / "a set")


def test_out_replaces_an_evaluation_and_nothing_else(
    flowseg: Flowseg, refused: Callable[..., str], run: Path, unsampled: None, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for seen in range(2):
        assert flowseg("eval", run, "--out", out).status == 0
        assert scores(out)["split"] == "test" and not (run / "eval").exists(), seen
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    for taken in (tmp_path / "notes", run):
        assert "holds something other than an evaluation" in refused("eval", run, "--out", taken)
    for bad in (tmp_path / "notes" / "mine.txt", tmp_path / "notes" / "mine.txt" / "below"):
        assert f"{bad}: cannot be written" in refused("eval", run, "--out", bad)
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep"


@pytest.fixture
def folds(tiny_data: Path, tmp_path: Path) -> Path:
    """A folder of the runs of two folds."""
    for k in (1, 2):
        trained_run(tmp_path / "folds" / f"fold-{k}", tiny_data, fold=f"{k}/2")
    return tmp_path / "folds"


@pytest.mark.parametrize("split", ["train", "val", "fold"])
def test_runs_together_are_not_scored_on_what_some_were_trained_on(
    refused: Callable[..., str], folds: Path, tiny_data: Path, tmp_path: Path, split: str
) -> None:
    """By whatever path the data set is named."""
    (tmp_path / "link").symlink_to(tiny_data)
    for data in ((), ("--data", tiny_data), ("--data", tmp_path / "link")):
        told = refused("eval", folds, *data, "--split", split, "--out", tmp_path / "out")
        assert f"--split {split}: some runs in {folds} were trained on these images" in told


def test_runs_together_on_their_own_data_need_no_place(
    flowseg: Flowseg, folds: Path, unsampled: None, tiny_data: Path
) -> None:
    assert flowseg("eval", folds, "--data", tiny_data).status == 0
    assert scores(folds / "eval" / "test")["split"] == "test"


def test_another_data_set_has_no_fold_of_a_run(
    refused: Callable[..., str], folds: Path, data: Path, tmp_path: Path
) -> None:
    for runs in (folds / "fold-1", folds):
        told = refused("eval", runs, "--data", data, "--split", "fold", "--out", tmp_path / "out")
        assert f"--split fold: {folds / 'fold-1'} was trained on a fold of another data set than {data}" in told


def test_tolerance_is_the_adaptive_sampler_s(
    flowseg: Flowseg, unsampled: None, tiny_data: Path, tmp_path: Path
) -> None:
    run = trained_run(tmp_path / "run", tiny_data, "gaussian", sampler="dopri5")
    assert flowseg("eval", run, "--tolerance", 0.1).status == 0
    used = scores(run / "eval" / "test-tolerance-0.1")["sampler"]
    assert used == asdict(replace(SETTINGS, sampler="dopri5", tolerance=0.1))


def test_the_number_of_windows_counts_where_steps_are_adaptive(
    flowseg: Flowseg, unsampled: None, tiny_data: Path, tmp_path: Path
) -> None:
    """The windows of a batch then share their steps."""
    for sampler, folder in (("euler", "test"), ("dopri5", "test-window_batch-2")):
        run = trained_run(tmp_path / sampler, tiny_data, "gaussian", sampler=sampler)
        assert flowseg("eval", run, "--window-batch", 2).status == 0
        assert [path.name for path in (run / "eval").iterdir()] == [folder]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--steps", 0, "eval.steps = 0: must be at least 1"),
        ("--ensemble", -1, "eval.ensemble = -1: must be at least 1"),
        ("--tolerance", 1, "eval.tolerance = 1.0: must lie between 0 and 1"),
        ("--sampler", "rk45", "rk45"),
    ],
)
@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_bad_sampling_option_is_one_line(
    refused: Callable[..., str], tmp_path: Path, command: str, option: str, value: object, told: str
) -> None:
    more = ("image.png", "--out", "out") if command == "predict" else ()
    assert told in refused(command, tmp_path / "run", *more, option, value)
