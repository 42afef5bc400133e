"""The page of one run: its scores, the choice of images, its calibration, where it comes from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from made_runs import make_run
from refusals import refusal

from flowseg.evaluation.overlays import save_png
from flowseg.evaluation.soft import BINS, soft_metrics
from flowseg.progress import console
from flowseg.reports.calibration import calibration
from flowseg.reports.run_page import FORMAT, PER_KIND, report_run
from flowseg.runs.folder import open_run
from flowseg.runs.provenance import recorded

MARKUP = "<img src=x onerror=alert(1)>"
DICES = [0.9, 0.5, 0.7, 0.8, None, 0.6, 0.75]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scores = {"dice": DICES, "hd95": [float(i) for i in range(7)]}
    images = [f"test/{i}{MARKUP.replace('/', '')}" for i in range(7)]
    path = make_run(tmp_path_factory.mktemp("run") / MARKUP, dices={2: 0.5, 4: 0.6}, scores=scores, images=images)
    file = path / "eval" / "test" / "metrics.json"
    rule = {"threshold": 0.47, "min_component": 30}
    file.write_text(json.dumps(json.loads(file.read_text()) | rule))
    with recorded(path, "2 x cpu"):
        pass
    report_run(open_run(path))
    return path


def test_scores_are_means_over_the_images_that_have_them(run: Path) -> None:
    report = json.loads((run / "report" / "report.json").read_text())
    dice = report["test"]["means"]["dice"]
    assert report["format"] == FORMAT and (dice["n"], round(dice["mean"], 6)) == (6, 0.708333)
    assert dice["low"] < dice["mean"] < dice["high"]
    assert report["test"]["reference"]["dice"]["mean"] == pytest.approx(0.6)
    assert report["run"]["best"] == {"epoch": 4, "dice": 0.6}


def test_best_median_and_worst_images_are_shown(run: Path) -> None:
    shown = json.loads((run / "report" / "report.json").read_text())["gallery"]
    found: dict[str, list[float]] = {"best": [], "median": [], "worst": []}
    for case in shown:
        for kind in case["kinds"]:
            found[kind].append(case["dice"][""])
    assert PER_KIND == 2 and found == {"best": [0.9, 0.8], "median": [0.75, 0.7], "worst": [0.5, 0.6]}


def test_a_log_is_read_once(run: Path, tmp_path: Path) -> None:
    """So that what is odd about it is said once."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    with console.capture() as told:
        report_run(open_run(copy))
    assert " ".join(told.get().split()).count("its last line is not finished") == 1


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_asks_for_nothing_and_escapes_names(run: Path, tmp_path: Path, lang: str) -> None:
    report_run(open_run(run), tmp_path / "report", lang)  # type: ignore[arg-type]
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert all(address.startswith(("data:image/", "#")) for address in page.asked)
    assert MARKUP in page.text and "script" in page.tags
    assert page.tags.count("img") == 6 * 5
    assert "0.7083" in page.text and "2 x cpu" in page.text
    assert {"en": "0.47. Connected components of a mask with fewer than 30 pixels", "ko": "30화소 미만인 조각"}[
        lang
    ] in page.text


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_sauna_maps_have_no_calibration_and_the_page_says_why(tmp_path: Path, lang: str) -> None:
    """They are no probabilities. With its other targets the Gaussian flow gives some."""
    bins = {}
    for target in ("sauna", "mask"):
        config = {"flow": {"family": "gaussian"}, "eval": {"sampler": "euler"}, "data": {"target": target}}
        path = make_run(tmp_path / target, dices={2: 0.5}, scores={"dice": [0.9, 0.8, 0.7]}, config=config)
        bins[target] = report_run(open_run(path), lang=lang)["calibration"]  # type: ignore[arg-type]
        text = Page((path / "report" / "report.html").read_text()).text
        assert (path / "report" / "plots" / "calibration.svg").exists() == (target == "mask")
        said = {
            "en": "trained on SAUNA maps, so its output is no vessel probability",
            "ko": "따라서 보정 그림이 없으며",
        }
        assert (said[lang] in text) == (target == "sauna")
    assert bins["sauna"] is None and bins["mask"]


def test_a_run_without_a_dice_is_reported_by_its_other_metrics(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", dices={2: 0.5}, scores={"dice": [None, None], "hd95": [1.0, 3.0]})
    report = report_run(open_run(path))
    assert report["gallery"] == [] and list(report["test"]["means"]) == ["hd95"]
    page = (path / "report" / "report.html").read_text()
    assert "2.00" in page and 'class="verdict"' not in page


def test_a_run_without_scores_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", dices={2: 0.5})
    assert "flowseg eval" in refusal(lambda: report_run(open_run(path)))
    assert not (path / "report").exists()


def test_calibration_bins_hold_the_shares_and_the_error() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    truth = rng.random(grey.shape) < (grey / 255) ** 2  # too confident
    bins = calibration([(grey, truth)])
    assert len(bins) == BINS and sum(one["pixels"] for one in bins) == grey.size
    assert all(one["vessel"] < one["predicted"] for one in bins[2:-1])
    error = sum(one["pixels"] * abs(one["vessel"] - one["predicted"]) for one in bins) / grey.size
    assert error == pytest.approx(soft_metrics(grey / 255.0, truth)["ece"])


def test_the_calibration_has_the_pixels_inside_the_field_of_view_where_there_are_probabilities(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", dices={2: 0.5}, scores={"dice": [0.9, 0.8, 0.7]})
    fov = np.zeros((40, 48), np.uint8)
    fov[10:30, 5:40] = 255
    for folder in (path / "eval" / "test" / "images").iterdir():
        save_png(folder / "fov.png", fov)
    (path / "eval" / "test" / "images" / "0003" / "probability.png").unlink()
    bins = report_run(open_run(path))["calibration"]
    assert sum(one["pixels"] for one in bins) == 2 * np.count_nonzero(fov)
