"""The report of a cross-validation, from made-up runs: what is averaged over what, and that nothing is left out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_page import Page
from made_runs import make_run
from refusals import refusal

from flowseg.data.folds import FOLD, split_pairs
from flowseg.progress import console
from flowseg.reports.folds import FOLDS_FORMAT, report_folds

MARKUP = "<i>a&b"
SEEDS, FOLDS, IMAGES = (0, 1), (1, 2, 3), 4


def dice(seed: int, fold: int, image: int) -> float:
    return round(0.5 + 0.1 * seed + 0.02 * fold + 0.003 * image, 6)


def evaluated(run: Path, split: str, names: list[str], scores: dict[str, list[float | None]]) -> None:
    """Gives a run the scores of a split."""
    made = make_run(run.parent / ".other", scores=scores, images=names)
    shutil.move(made / "eval" / "test", run / "eval" / split)
    shutil.rmtree(made)


def add_images(root: Path, split: str, count: int) -> None:
    """Adds names of images and labels: the report does not read them."""
    for kind in ("image", "label"):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / split / kind / f"{i}.png").touch()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of twelve images for training and validation."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 9), ("val", 3)):
        add_images(root, split, count)
    return root


def left_out(root: Path, fold: int) -> list[str]:
    return [pair.key for pair in split_pairs(root, FOLD, f"{fold}/3")]


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one config: three folds, two seeds, of four images each; the last image of a fold has no HD95."""
    folder = tmp_path_factory.mktemp("out") / MARKUP
    for seed in SEEDS:
        for fold in FOLDS:
            test: dict[str, list[float | None]] = {"dice": [0.6 + 0.1 * seed, 0.7], "hd95": [3.0, None]}
            config = {"data": {"root": str(root), "fold": f"{fold}/3"}}
            run = make_run(folder / f"seed-{seed}-fold-{fold}", seed=seed, scores=test, config=config)  # type: ignore[arg-type]
            dices: list[float | None] = [dice(seed, fold, i) for i in range(IMAGES)]
            hd95: list[float | None] = [10.0 * fold] * (IMAGES - 1) + [None]
            evaluated(run, "fold", left_out(root, fold), {"dice": dices, "hd95": hd95})
    together: dict[str, list[float | None]] = {"dice": [0.9, 0.8], "hd95": [2.0, None]}
    made = make_run(folder / "together", scores=together)  # type: ignore[arg-type]
    (folder / "eval").mkdir()
    shutil.move(made / "eval" / "test", folder / "eval" / "test")
    shutil.rmtree(made)
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    report_folds([folder], folder.parent / "report")
    content: dict[str, Any] = json.loads((folder.parent / "report" / "report.json").read_text())
    return content


def test_every_image_counts_once_with_the_mean_of_its_seeds(report: dict[str, Any], root: Path) -> None:
    (config,) = report["configs"]
    expected = {
        key: np.mean([dice(seed, fold, i) for seed in SEEDS])
        for fold in FOLDS
        for i, key in enumerate(left_out(root, fold))
    }
    assert {key: row["dice"] for key, row in config["per_image"].items()} == pytest.approx(expected)
    means = config["out_of_fold"]
    assert (means["dice"]["n"], means["dice"]["mean"]) == (12, pytest.approx(np.mean([*expected.values()])))
    assert (means["hd95"]["n"], means["hd95"]["mean"]) == (9, pytest.approx(20.0))
    assert report["format"] == FOLDS_FORMAT and report["folds"] == 3 and config["runs"] == 6


def test_each_fold_and_the_test_images_are_there(report: dict[str, Any]) -> None:
    (config,) = report["configs"]
    for fold, found in zip(FOLDS, config["folds"], strict=True):
        assert (found["fold"], found["images"]) == (fold, IMAGES)
        assert found["dice"] == pytest.approx(np.mean([dice(s, fold, i) for s in SEEDS for i in range(IMAGES)]))
    single, together = (config["test"][of]["dice"]["mean"] for of in ("single", "together"))
    assert (single, together) == (pytest.approx((0.65 + 0.7) / 2), pytest.approx(0.85))


@pytest.mark.parametrize(("lang", "told"), [("en", "Cross-validation in 3 folds"), ("ko", "교차 검증")])
def test_the_page_shows_them_and_escapes_names(
    folder: Path, report: dict[str, Any], tmp_path: Path, lang: str, told: str
) -> None:
    report_folds([folder], tmp_path / "report", lang)  # type: ignore[arg-type]
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert told in page.text and MARKUP in page.text and "i" not in page.tags
    mean = report["configs"][0]["out_of_fold"]["dice"]["mean"]
    assert f"{mean:.4f}" in page.text and "0.8500" in page.text and "n = 4" in page.text
    assert all(address.startswith(("data:image/", "#")) for address in page.asked)


def test_two_configs_are_compared_image_by_image(folder: Path, tmp_path: Path) -> None:
    better = Path(shutil.copytree(folder, tmp_path / "better"))
    for file in better.glob("*/eval/fold/per_image.csv"):
        head, *rows = [line.split(",") for line in file.read_text().splitlines()]
        file.write_text(
            "\n".join(",".join(r) for r in [head, *([n, f"{float(d) + 0.05:.6f}", *m] for n, d, *m in rows)])
        )
    report = report_folds([folder, better], tmp_path / "report")
    found = {test["metric"]: test for test in report["differences"]}
    assert found.keys() == {"dice", "hd95"} and (found["dice"]["a"], found["dice"]["b"]) == (MARKUP, "better")
    assert (found["dice"]["n"], found["dice"]["difference"]) == (12, pytest.approx(0.05))
    assert found["dice"]["low"] > 0.04 and found["dice"]["p_holm"] < 0.01
    assert (found["hd95"]["n"], found["hd95"]["difference"]) == (9, 0)
    text = Page((tmp_path / "report" / "report.html").read_text()).text
    assert f"better − {MARKUP}" in text and "+0.0500" in text
    assert "Differences between configs" not in (folder.parent / "report" / "report.html").read_text()


def test_means_that_stand_side_by_side_are_over_the_same_images(folder: Path, tmp_path: Path) -> None:
    """Where one config lacks the HD95 of an image, no mean or difference beside it counts that image."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    file = other / "seed-1-fold-3" / "eval" / "fold" / "per_image.csv"
    head, (name, value, _, frangi), *rows = [line.split(",") for line in file.read_text().splitlines()]
    file.write_text("\n".join(",".join(row) for row in [head, [name, value, "", frangi], *rows]))
    for file in other.glob("eval/test/per_image.csv"):
        file.write_text(file.read_text().replace("2.000000", ""))
    found = report_folds([folder, other], tmp_path / "report")
    means = [config["out_of_fold"]["hd95"] for config in found["configs"]]
    expected = np.mean([10.0] * 3 + [20.0] * 3 + [30.0] * 2)
    assert [(mean["mean"], mean["n"]) for mean in means] == [(pytest.approx(expected), 8)] * 2
    (difference,) = [test for test in found["differences"] if test["metric"] == "hd95"]
    assert (difference["n"], difference["mean_a"]) == (8, pytest.approx(expected))
    assert [config["per_image"][name]["hd95"] for config in found["configs"]] == [30.0, None]
    assert [mean["hd95"] for config in found["configs"] for mean in config["test"].values()] == [None] * 4
    text = (tmp_path / "report" / "report.md").read_text()
    rows_of_hd95 = [line for line in text.splitlines() if line.startswith("| HD95")]
    assert "8 images" in rows_of_hd95[0] and "0 images" in rows_of_hd95[-1]
    assert not any("images" in line for line in text.splitlines() if line.startswith("| Dice"))


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(folder, tmp_path / "runs"))
    run = whole / "seed-1-fold-2"
    shutil.move(run / "eval" / "fold", tmp_path / "fold")
    told = refusal(lambda: report_folds([whole], tmp_path / "report"))
    assert told == f"{run}: has no fold scores; make them with: flowseg eval {run} --split fold"
    shutil.rmtree(run)
    told = refusal(lambda: report_folds([whole], tmp_path / "report"))
    assert told == f"{whole}: lacks fold 2 of 3 with seed 1; give the same command again, or remove that seed's runs"
    assert not (tmp_path / "report").exists()


def rename(folder: Path, split: str, old: str, new: str) -> None:
    """Gives an image another name in the scores of all runs."""
    for file in folder.glob(f"*/eval/{split}/per_image.csv"):
        file.write_text(file.read_text().replace(old, new))


def test_folds_that_were_divided_differently_are_refused(folder: Path, root: Path, tmp_path: Path) -> None:
    """Images were added after the first fold was trained: one of its images is left out by the second fold, too."""
    copy = Path(shutil.copytree(folder, tmp_path / "config"))
    (first, *_), (second, *_) = left_out(root, 1), left_out(root, 2)
    rename(copy, "fold", second, first)
    told = refusal(lambda: report_folds([copy], tmp_path / "report"))
    assert f"{copy}: more than one fold has {first}: images were added" in told
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("count", [10, 8])
def test_images_that_no_fold_has_are_noticed(folder: Path, tmp_path: Path, count: int) -> None:
    """An image was added, or taken away, after all folds had been trained."""
    copy, data = Path(shutil.copytree(folder, tmp_path / "config")), tmp_path / "data"
    for split, images in (("train", count), ("val", 3)):
        add_images(data, split, images)
    for file in copy.glob("*/config.json"):
        content = json.loads(file.read_text())
        content["config"]["data"]["root"] = str(data)
        file.write_text(json.dumps(content))
    told = refusal(lambda: report_folds([copy], tmp_path / "report"))
    assert f"/3 of {data} is not what its run was scored on (fold/" in told and "train all folds again" in told
    shutil.rmtree(data)
    with console.capture() as said:
        report_folds([copy], tmp_path / "report")
    assert f"NOTE: {data}: no such folder; images that were added" in " ".join(said.get().split())


@pytest.mark.parametrize("split", ["fold", "test"])
def test_configs_of_different_images_are_refused(folder: Path, tmp_path: Path, split: str) -> None:
    """Their differences would be those of the images."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    if split == "test":
        for file in (*other.glob("*/eval/test/per_image.csv"), other / "eval/test/per_image.csv"):
            file.write_text(file.read_text().replace("test/0001", "test/0009"))
    else:
        for file in other.glob("*/eval/fold/per_image.csv"):
            file.write_text(file.read_text().replace("0.600000", "0.700000"))
    told = refusal(lambda: report_folds([folder, other], tmp_path / "report"))
    if split == "test":
        assert f"only {folder}/eval/test has test/0001; evaluate both on one test set" in told
    else:
        assert "is another image, or has another label" in told and "train all folds again" in told
    assert not (tmp_path / "report").exists()
