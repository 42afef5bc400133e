"""`flowseg compare` from the command line: a report, or a refusal in one line with nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Flowseg
from made_runs import dice_of, make_run

from flowseg.evaluation.overlays import save_png

LOG = "epoch,train_loss,val_dice\n1,0.5,0.61\n2,0.4,0.62\n3,0.3,0.64\n"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two evaluated runs of two set-ups."""
    dice = list(dice_of(8))
    return (
        make_run(tmp_path / "a", dices={2: 0.5, 4: 0.6}, scores={"dice": dice}),
        make_run(tmp_path / "b", dices={2: 0.5, 4: 0.6}, scores={"dice": dice}, config={"precision": "bf16"}),
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_report_of_two_runs(flowseg: Flowseg, runs: tuple[Path, Path], tmp_path: Path, lang: str) -> None:
    out = tmp_path / "new" / "out"
    outcome = flowseg("compare", *runs, "--out", out, "--lang", lang, "--early", 1, 3)
    assert outcome.status == 0 and outcome.err == ""
    assert f"report: {out}/report.html" in outcome.out
    assert sorted(p.name for p in out.iterdir()) == ["gallery", "plots", "report.html", "report.json", "report.md"]
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert found["lang"] == lang and found["headline"][0] in outcome.out and found["early"]["to"] == 3


def test_a_run_without_evaluation_names_the_command(
    refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.rmtree(runs[1] / "eval")
    message = refused("compare", *runs, "--out", tmp_path / "out")
    assert f"{runs[1]}: has no test scores; make them with: flowseg eval {runs[1]}" in message


def test_other_test_images(refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path) -> None:
    path = runs[1] / "eval" / "test" / "per_image.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace("test/0008", "test/0009")]) + "\n")
    message = refused("compare", *runs, "--out", tmp_path / "out")
    assert "is of 8 images" in message and "only " in message and "has test/0008" in message
    path.write_text("\n".join(lines[:5]) + "\n")
    message = refused("compare", *runs, "--out", tmp_path / "out")
    assert "is of 4 images" in message and "has test/0005, test/0006, test/0007 and 1 more" in message


def test_other_pixels_under_the_same_names(
    refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = make_run(tmp_path / "c", scores={"dice": list(dice_of(8))}, pixels=50, config={"precision": "bf16"})
    message = refused("compare", runs[0], other, "--out", tmp_path / "out")
    assert "test/0001 is another image, or has another label or field of view, than in" in message
    # Without pictures the classical reference shows it: the same filter gives other scores.
    shutil.rmtree(other / "eval" / "test" / "images")
    path = other / "eval" / "test" / "per_image.csv"
    path.write_text(path.read_text().replace("0.600000", "0.700000"))
    assert "test/0001 is another image" in refused("compare", runs[0], other, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no image"),
        ("image,dice\n", "holds no image"),
        ("image,dice\ntest/0001,0.5\ntest/0001,0.5\n", "holds test/0001 twice"),
        ("image,dice\ntest/0001,half\n", "is not a table of scores (ValueError: could not convert"),
        ("image,dice\ntest/0001,inf\n", "is not a table of scores (ValueError: 'inf' is no score)"),
        ("image,dice\ntest/0001,-1e308\n", "is not a table of scores (ValueError: '-1e308' is no score)"),
        ("image,dice\ntest/0001\n", "is not a table of scores"),
        ("image,dice\ntest/0001,0.5,0.6\n", "is not a table of scores (ValueError: more values than column names)"),
        ("name,dice\ntest/0001,0.5\n", "is not a table of scores (KeyError"),
        (b"image,dice\ntest/\xff,0.5\n", "is not a table of scores (UnicodeDecodeError"),
    ],
)
def test_damaged_scores(
    refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = runs[1] / "eval" / "test" / "per_image.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refused("compare", *runs, "--out", tmp_path / "out")
    assert str(path) in message and said in message and f"flowseg eval {runs[1]}" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LOG.replace("0.5", "half"), "line 2: train_loss = 'half': must be a number"),
        (LOG.replace("\n3", "\n1"), "line 4: epoch 1 is already in line 2"),
        (LOG.replace("\n3", "\n0"), "line 4: epoch 0 after epoch 2"),
        (LOG.split("\n")[0] + "\n", "has no logged epoch"),
        ("\n".join(LOG.split("\n")[:2]), "has 1 logged epoch"),
        (LOG.encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_a_bad_log(refused: Callable[..., str], log: Path, tmp_path: Path, content: str | bytes, said: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refused("compare", log, bad, "--out", tmp_path / "out")
    assert str(bad) in message and said in message


def test_a_byte_order_mark_and_crlf_are_accepted(flowseg: Flowseg, log: Path, tmp_path: Path) -> None:
    other = tmp_path / "windows.csv"
    other.write_bytes(b"\xef\xbb\xbf" + LOG.replace("\n", "\r\n").encode())
    assert flowseg("compare", log, other, "--out", tmp_path / "out").status == 0
    one, two = json.loads((tmp_path / "out" / "report.json").read_text())["runs"]
    assert one["curve"] == two["curve"] and len(one["curve"]) == 3


def test_too_few_runs(refused: Callable[..., str], log: Path, tmp_path: Path) -> None:
    assert "1 run given; a comparison takes two or more" in refused("compare", log, "--out", tmp_path / "out")
    assert "is named twice" in refused("compare", log, log, "--out", tmp_path / "out")
    assert "no such run folder or CSV" in refused("compare", log, tmp_path / "gone", "--out", tmp_path / "out")


def test_an_unknown_language(refused: Callable[..., str], log: Path, tmp_path: Path) -> None:
    assert "lang" in refused("compare", log, log, "--out", tmp_path / "out", "--lang", "fr")


def test_out_that_holds_something_else(refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path) -> None:
    message = refused("compare", *runs, "--out", runs[0])
    assert f"{runs[0]}: holds something other than a report of `flowseg compare`; choose another --out" in message
    below = runs[0] / "config.json" / "out"
    assert "cannot be made" in refused("compare", *runs, "--out", below)


def inside(run: Path) -> None:
    """Makes a run's scores those of a field of view."""
    path = run / "eval" / "test" / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "field_of_view": True}))


def test_scores_inside_a_field_of_view_are_not_compared_with_others(
    flowseg: Flowseg, refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    inside(runs[1])
    message = refused("compare", *runs, "--out", tmp_path / "out")
    assert f"{runs[1]}/eval/test: is scored inside the field of view, {runs[0]}/eval/test on whole images" in message
    assert message == refused("compare", *runs[::-1], "--out", tmp_path / "out")
    inside(runs[0])
    assert flowseg("compare", *runs, "--out", tmp_path / "out").status == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["test"]["field_of_view"] is True
    for page in ("report.html", "report.md"):
        assert "All scores are inside the field of view" in (tmp_path / "out" / page).read_text()


def test_other_fields_of_view_are_refused(
    refused: Callable[..., str], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    for run, value in zip(runs, (255, 0), strict=True):
        inside(run)
        mask = np.full((40, 48), 255, np.uint8)
        mask[0] = value
        save_png(run / "eval" / "test" / "images" / "0003" / "fov.png", mask)
    message = refused("compare", *runs, "--out", tmp_path / "out")
    assert "test/0003 is another image, or has another label or field of view" in message
