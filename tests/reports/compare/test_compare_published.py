"""`flowseg compare` reproduces the numbers of the published report, and says what that report missed."""

import json
from pathlib import Path

import published
import pytest

from flowseg.reports.compare.report import compare_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("published")
    one, two = published.write_both(work)
    compare_runs([str(one), str(two)], work / "out")
    return work / "out"


@pytest.fixture(scope="module")
def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def vlm(report: dict) -> dict:
    return next(run for run in report["runs"] if run["name"] == "VLM-FiLM")


@pytest.fixture(scope="module")
def baseline(report: dict) -> dict:
    return next(run for run in report["runs"] if run["name"] == "baseline")


def test_the_table_of_windows_to_four_decimals(vlm: dict) -> None:
    assert len(vlm["windows"]) == len(published.WINDOWS)
    for found, (start, end, mean, best, loss, change) in zip(vlm["windows"], published.WINDOWS, strict=True):
        assert (found["start"], found["end"]) == (start, end)
        assert round(found["mean_dice"], 4) == mean
        assert round(found["best_dice"], 4) == best
        assert round(found["mean_loss"], 4) == loss
        assert found["change"] is None if change is None else round(found["change"], 4) == change
        assert found["measurements"] == 2  # one carried in, one made in the window


def test_the_means_are_printed_in_both_pages(folder: Path) -> None:
    text, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    for start, end, mean, best, loss, change in published.WINDOWS:
        cells = [f"{start}–{end}", f"{mean:.4f}", f"{best:.4f}", f"{loss:.4f}"]
        cells.append("–" if change is None else f"{change:+.4f}")
        assert f"| {' | '.join(cells)} |" in text
        assert "".join(f"<td>{cell}</td>" for cell in cells) in page


def test_jumps_falls_and_spike(vlm: dict) -> None:
    assert [(c["epoch"], round(c["change"], 4)) for c in vlm["jumps"]] == [(44, 0.0259), (89, 0.0105), (119, 0.0059)]
    assert [(c["from_epoch"], c["epoch"], round(c["change"], 4)) for c in vlm["falls"]] == [
        (58, 59, -0.0221),
        (103, 104, -0.0173),
    ]
    assert [(a["epoch"], a["loss"]) for a in vlm["loss_anomalies"]] == [published.SPIKE]
    # The spike "left Dice unmoved": of 15 values that repeat the measurement of epoch 44. The next one is lower.
    (spike,) = vlm["loss_anomalies"]
    assert spike["before"] == {"epoch": 44, "dice": 0.8457} and spike["after"] == {"epoch": 59, "dice": 0.8236}


def test_bests_epochs_and_hole(vlm: dict, baseline: dict) -> None:
    assert vlm["best"] == {"epoch": 119, "dice": 0.8621} and baseline["best"] == {"epoch": 430, "dice": 0.8707}
    assert vlm["last"]["epoch"] == 120 and vlm["last"]["measured_at"] == 119
    assert vlm["epochs"] == {"first": 14, "last": 120, "max": None}
    assert baseline["epochs"] == {"first": 14, "last": 430, "max": None}
    assert baseline["gaps"] == [{"from": 26, "to": 429}] and vlm["gaps"] == []
    # What happened across the hole is not taken for a jump at an epoch.
    assert [c["across_gap"] for c in baseline["jumps"]] == [True]
    assert not any(c["across_gap"] for c in vlm["jumps"] + vlm["falls"])


def test_the_107_validation_epochs_are_8_measurements(report: dict, vlm: dict, baseline: dict) -> None:
    assert vlm["values"] == 107 and vlm["measurements"] == 8 and vlm["carried_forward"] is True and vlm["every"] == 15
    assert [p["epoch"] for p in vlm["curve"] if p["measured"]] == list(published.VALIDATIONS)
    assert baseline["values"] == 13 and baseline["measurements"] == 2 and baseline["carried_forward"] is True
    said = " ".join(report["conclusions"])
    assert "VLM-FiLM: the 107 validation epochs are 8 measurements. Validation ran every 15 epochs" in said
    assert "baseline: nothing is logged from epoch 26 to 429" in said
    assert "416" not in said  # the distance over the hole is no rhythm of validation


def test_the_early_advantage_compares_one_measurement_with_one(report: dict) -> None:
    early = report["early"]
    assert (early["from"], early["to"]) == (14, 25)
    rows = {row["name"]: row for row in early["per_run"]}
    assert [round(rows[name]["mean_dice"], 4) for name in ("baseline", "VLM-FiLM")] == [0.8140, 0.8160]
    for name, variance in published.EARLY_VARIANCE.items():
        assert round(rows[name]["loss_variance"], 6) == variance
        assert rows[name]["values"] == 12 and rows[name]["measurements"] == 1
    said = " ".join(report["conclusions"])
    assert "The difference of +0.0020 compares one measurement with one measurement." in said
    assert "baseline 0.8707 (epoch 430), VLM-FiLM 0.8621 (epoch 119). This compares one value with one value." in said


def test_no_winner_is_named(report: dict) -> None:
    rules = {row["item"]: row["rule"] for row in report["winners"]}
    assert rules == {
        "best_dice": "single_values",
        "equal_epochs": "single_values",
        "early": "single_values",
        "steadiness": "few_losses",
    }
    assert all(row["winner"] is None for row in report["winners"])
    assert report["tests"] == [] and report["test"] is None
    assert report["equal"]["epoch"] == 25
    assert report["headline"] == ["No winner between baseline and VLM-FiLM: there are no test scores to compare."]


def test_what_to_run_next_follows_from_it(report: dict) -> None:
    said = " ".join(report["next"])
    assert "baseline: find or repeat epochs 26 to 429" in said
    assert "VLM-FiLM: validate every 5 epochs instead of every 15" in said
    assert "VLM-FiLM: train longer; its best is its last measurement (epoch 119)" in said
    assert "score on the test images" in said and "train 3 seeds of each" in said
    assert "make the training steadier (2 falls, 1 loss out of line)" in said


def test_in_korean(tmp_path: Path) -> None:
    one, two = published.write_both(tmp_path)
    found = compare_runs([str(one), str(two)], tmp_path / "out", "ko")
    said = " ".join(found["conclusions"])
    assert "검증 Dice가 적힌 107개 에폭은 실제로는 8회의 측정입니다" in said
    assert "baseline: 26~429 에폭의 기록이 없습니다" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<html lang="ko">' in page and "학습 결과 비교: baseline, VLM-FiLM" in page
