"""The models that come with flowseg: opened by their names from any folder, small, and as good as their cards say."""

import re
from pathlib import Path

import pytest
from refusals import refusal

import flowseg
from flowseg.config import Config
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.phantoms.angiogram import COUNTS, draw_phantom
from flowseg.runs import names
from flowseg.runs.ensemble import open_runs
from flowseg.runs.folder import create_run, open_run
from flowseg.runs.names import PRETRAINED

NAME = Path("phantoms")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    names.tell_if_hidden.cache_clear()
    return tmp_path


@pytest.mark.parametrize("name", names.pretrained())
def test_it_is_whole_and_small_and_under_the_project_s_licence(name: str) -> None:
    folder = PRETRAINED / name
    assert {"README.md", "config.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    run = open_run(Path(name))
    assert run.exported is not None and run.path == folder and run.config.name == name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "\nlicense: apache-2.0\n" in card and "No licence is given" not in card
    assert f"`{run.exported.sha256}`" in card


def test_it_scores_what_its_card_says() -> None:
    """On phantoms of the test split, which are drawn again."""
    card = (PRETRAINED / NAME / "README.md").read_text(encoding="utf-8")
    rows = {int(number): float(dice) for number, dice in re.findall(r"^\| (\d{4}) \| (0\.\d{4}) \|$", card, re.M)}
    assert len(rows) == 4 and min(rows) >= COUNTS["train"] + COUNTS["val"]
    model = flowseg.load("phantoms")
    for number, dice in rows.items():
        image, label = draw_phantom(0, number)
        found = overlap_metrics(model.segment(image).mask, label > 0)["dice"]
        # Processors round differently, which may move a small component across the size below which it is removed.
        assert found == pytest.approx(dice, abs=0.015), number


def test_a_folder_of_images_does_not_hide_it(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / NAME / "train").mkdir(parents=True)
    assert open_run(NAME).path == open_runs(NAME)[0].path == PRETRAINED / NAME
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("inner", ["", "seed0"])
def test_a_run_of_its_name_comes_first_and_this_is_said_once(inner: str, capsys: pytest.CaptureFixture[str]) -> None:
    create_run(NAME / inner, Config(name="mine"), None)
    for _ in range(2):
        assert [run.config.name for run in open_runs(NAME)] == ["mine"]
    said = capsys.readouterr().out
    assert said.startswith("NOTE: phantoms: the run in this folder is used, not the model") and said.count("\n") == 1


def test_another_name_is_refused_with_what_there_is() -> None:
    for wrong in ("phantom", "phantoms/train", "..", "*"):
        told = refusal(lambda wrong=wrong: open_run(Path(wrong)))
        assert told.startswith(f"{wrong}: no run there (no config.json); give")
        assert told.endswith("or a model that comes with flowseg: phantoms")
