"""`flowseg data check` from the command line: its page, its exit status, and its refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Flowseg
from made_data import make_data, save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set that the recipes accept."""
    return make_data(tmp_path / "data", (168, 200), {"train": 2, "val": 1, "test": 1})


def test_a_set_without_errors(flowseg: Flowseg, root: Path, tmp_path: Path) -> None:
    outcome = flowseg("data", "check", root)
    assert outcome.status == 0 and outcome.err == ""
    assert "200x168" in outcome.out and "Training would accept this data: 0 warnings, 2 notes." in outcome.out
    assert "note: training images smaller than the full recipe's crop of 320 pixels (2): train/0, " in outcome.out
    assert "Reduced recipe: Images are scaled down to a longer side of 192 pixels" in outcome.out
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["data-check.html"]


def test_errors_are_listed_and_the_status_is_1(flowseg: Flowseg, root: Path, tmp_path: Path) -> None:
    for number in range(40):
        save(root / "val" / "image" / f"[red]{number}.png", np.zeros((8, 8), np.uint8))
    out = tmp_path / "[page].html"
    outcome = flowseg("data", "check", root, "--out", out)
    assert outcome.status == 1
    assert outcome.err == f"flowseg: {root}: training would refuse it; the errors are listed in {out}\n"
    assert f"error: {root}/val/image/[red]0.png: has no label" in outcome.out
    assert outcome.out.count("error: ") == 30 and "and 12 more on the page" in outcome.out
    assert out.read_text(encoding="utf-8").count("has no label") == 40


def test_json_is_all_that_is_printed(
    flowseg: Flowseg, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowseg.progress._SECONDS_BETWEEN_LINES", 0)
    outcome = flowseg("data", "check", root, "--json", "--out", tmp_path / "page.html", "--images", 0)
    assert outcome.status == 0 and "reading 3/4" in outcome.err
    found = json.loads(outcome.out)
    assert found["format"] == "flowseg data check 1" and len(found["images"]) == 4
    assert "0 of 4 images" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_refusals_write_nothing(refused: Callable[..., str], root: Path, tmp_path: Path) -> None:
    assert "nowhere: no such folder; give" in refused("data", "check", tmp_path / "nowhere")
    assert "no such folder; expected" in refused("data", "check", root / "train")
    assert "is a folder" in refused("data", "check", root, "--out", tmp_path)
    assert "--images -1: must be at least 0" in refused("data", "check", root, "--images", -1)
    (tmp_path / "file").write_text("kept")
    assert "cannot be made" in refused("data", "check", root, "--out", tmp_path / "file" / "page.html")
    assert "other than a page" in refused("data", "check", root, "--out", tmp_path / "file")
