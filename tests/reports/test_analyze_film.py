"""`flowseg analyze film` from the command line, on a tiny trained run."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from browser import outside, show, started
from html_page import Page
from PIL import Image

from flowseg import cli
from flowseg.evaluation.film_effect import without_film
from flowseg.phantoms.angiogram import write_phantoms
from flowseg.reports import film
from flowseg.reports.film import mean_embedding
from flowseg.reports.film_pictures import VIEWS
from flowseg.reports.film_plots import CURVES, PARTS
from flowseg.reports.messages import Message
from flowseg.runs.checkpoints import Checkpoints, description_digest
from flowseg.runs.folder import create_run, open_run
from flowseg.runs.trained import Trained
from flowseg.training.state import init_state

REPO = Path(__file__).resolve().parents[2]
# A narrow network, 16x16 crops, 8 steps.
SMALL = [
    *("--preset", "cpu", "--devices", "1", "--data.crop", "16", "--data.max-side", "48"),
    *("--model.dim", "8", "--model.heads", "1", "--model.head-dim", "8", "--optim.lr", "0.01"),
    *("--model.multipliers", "1", "2", "--model.full-attention-levels", "1", "--model.film.stages", "0", "1"),
    *("--flow.family", "supervised", "--optim.rule", "adamw"),  # the smallest program
    *("--train.epochs", "2", "--train.epoch-steps", "4", "--train.validate-every", "1"),
    *("--eval.steps", "1", "--eval.overlap", "0"),
]
MARKUP = "<script>&\"'"
"""The prefix of every test image's name."""


def flowseg(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["flowseg", *map(str, args)])
    cli.main()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten test images, enough for a verdict, with names that are markup."""
    root = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(root, size=64, counts={"train": 4, "val": 2, "test": 10})
    for path in sorted((root / "test").glob("*/*.png")):
        path.rename(path.with_name(f"{MARKUP}{path.name}"))
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of configs/vlm_film.py."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        config = REPO / "configs" / "vlm_film.py"
        flowseg(patch, "train", config, *SMALL, "--data.root", data, "--out", out)
    return out


@pytest.fixture(scope="module")
def report(trained: Path) -> Path:
    """The folder of its report."""
    with pytest.MonkeyPatch.context() as patch:
        flowseg(patch, "analyze", "film", trained)
    return trained / "analysis" / "film-test"


def content(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_own_is_what_eval_gives(report: Path, trained: Path) -> None:
    with (trained / "eval" / "test" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = content(report)
    assert found["images"] == [row["image"] for row in rows]
    own = found["conditions"]["own"]["per_image"]["dice"]
    np.testing.assert_allclose(own, [float(row["dice"]) for row in rows], atol=1e-6)
    mean = json.loads((trained / "eval" / "test" / "metrics.json").read_text())["model"]["dice"]["mean"]
    assert found["conditions"]["own"]["mean"]["dice"]["mean"] == pytest.approx(mean)


def test_report_json_is_whole_and_says_what_it_holds(report: Path) -> None:
    found = content(report)
    assert set(found) == set(found["keys"])
    assert list(found["conditions"]) == ["own", "other", "mean", "none", *(f"no stage {s}" for s in range(2))]
    assert list(found["differences"]) == list(found["conditions"])[1:]
    assert found["programs"] == 1 and found["finished"] is True and found["seed"] == 0
    assert found["mean_from"] == "the run's own training split (4 images)"
    assert all(a != b for a, b in zip(found["images"], found["partners"], strict=True))
    assert sorted(found["images"]) == sorted(found["partners"])
    for name, row in found["differences"].items():
        own, other = (np.array(found["conditions"][c]["per_image"]["dice"]) for c in ("own", name))
        assert row["dice"]["mean"] == pytest.approx((own - other).mean(), abs=1e-9)
        assert row["dice"]["p"] <= row["dice"]["p_holm"] <= 1
    assert [row["stage"] for row in found["modulation"]] == [0, 1]
    assert all(0 <= row[part]["share"] <= 1 for row in found["modulation"] for part in ("gamma", "beta"))


def test_plots_are_files_and_the_pages_show_all_of_them(report: Path) -> None:
    plots = sorted(p.name for p in (report / "plots").iterdir())
    shown = [f"gallery-{i + 1}-{view}.png" for i in range(len(content(report)["gallery"])) for view in VIEWS]
    pictures = [*shown, "map-none.png", "map-other.png"]
    drawings = [f"{name}.svg" for name in ("dice", "differences", *PARTS, *CURVES)]
    assert shown and plots == sorted([*pictures, *drawings])
    for name in pictures:
        with Image.open(report / "plots" / name) as picture:
            assert picture.format == "PNG" and min(picture.size) > 40
    page = Page((report / "report.html").read_text())
    assert len(page.asked) == len(pictures) and page.tags.count("svg") == 2 * len(drawings)
    text = (report / "report.md").read_text()
    assert all(f"(plots/{name})" in text for name in plots)
    assert sorted(p.name for p in report.iterdir()) == ["plots", "report.html", "report.json", "report.md"]


def test_the_page_needs_nothing_else_and_shows_names_as_text(report: Path) -> None:
    text = (report / "report.html").read_text()
    page = Page(text)
    assert page.asked and all(a.startswith("data:image/png;base64,") for a in page.asked)
    text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    assert not set(page.tags) & {"script", "link", "iframe", "object"}
    assert MARKUP in page.text  # in the gallery's captions
    assert "<script>" not in (report / "report.md").read_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_in_korean_on_a_phone_nothing_is_cut_off(
    report: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    flowseg(monkeypatch, "analyze", "film", trained, "--images", "2", "--lang", "ko", "--out", tmp_path / "ko")
    found = content(tmp_path / "ko")
    assert found["lang"] == "ko" and found["verdict"]["sentence"] == "영상 수가 적어 판단할 수 없습니다."
    assert found["verdict"]["outcome"] == "too few images"
    with started() as browser:
        show(browser, tmp_path / "ko" / "report.html", width)
        assert outside(browser, width) == []
        letters = "return [...document.querySelectorAll('svg text')].filter(e => e.getClientRects().length)" + (
            ".map(e => e.getBoundingClientRect().height)"
        )
        assert min(browser.execute_script(letters)) >= 11  # pixels, as high as the small print


def test_heads_of_zero_have_exactly_no_effect(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(trained)
    checkpoints = Checkpoints(trained)
    params, meta = checkpoints.restore_best(run.config)
    checkpoints.close()
    zeroed = create_run(tmp_path / "zeroed", run.config, run.encoder)
    stages = run.config.model.film.stages
    written = Checkpoints(zeroed.path)
    state = init_state(run.config, without_film(params, stages, stages), 1)
    written.save("best", state, run.config, meta["record"])
    written.close()
    flowseg(monkeypatch, "analyze", "film", zeroed.path)
    found = content(zeroed.path / "analysis" / "film-test")
    assert found["verdict"]["outcome"] == "none" and found["verdict"]["sentence"] == "No measurable effect."
    for row in found["differences"].values():
        for name, values in row.items():
            assert (values["mean"], values["low"], values["high"], values["changed"]) == (0, 0, 0, 0), name
            assert values["p"] == 1 and values.get("p_holm", 1) == 1
    assert all(row[part]["share"] is None for row in found["modulation"] for part in ("gamma", "beta"))
    assert found["where"]["other"]["differing"] == found["where"]["none"]["differing"] == 0
    assert found["gallery"] == [] and found["finished"] is False
    page = Page((zeroed.path / "analysis" / "film-test" / "report.html").read_text()).text
    assert "The run has no record of it." in page and "training had not finished" in page


def test_some_images_into_a_folder_of_one_s_own(
    report: Path,
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Three images give no verdict; the mean is of the run's own training images, whatever data are analysed."""
    root = Path(shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("train")))
    out = tmp_path / "new" / "out"
    flowseg(monkeypatch, "analyze", "film", trained, "--images", 3, "--data", root, "--out", out, "--seed", 2)
    told = " ".join(capsys.readouterr().out.split())
    assert told.index("NOTE: a verdict takes at least 8 images, and this is on 3") < told.index("report.html")
    found = content(out)
    assert len(found["images"]) == 3 and found["split_images"] == 10
    assert found["verdict"]["outcome"] == "too few images"
    assert found["mean_from"] == "the run's own training split (4 images)"
    whole = content(report)
    by_name = dict(zip(whole["images"], whole["conditions"]["own"]["per_image"]["dice"], strict=True))
    own = found["conditions"]["own"]["per_image"]["dice"]
    np.testing.assert_allclose(own, [by_name[name] for name in found["images"]], atol=1e-3)


def test_own_is_what_eval_gives_with_a_tuned_threshold(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["config"]["eval"]["threshold"] = "tuned"
    (run / "config.json").write_text(json.dumps(config))
    for meta in (run / "checkpoints").rglob("meta/metadata"):
        kept = json.loads(meta.read_text())
        kept["config"]["eval"]["threshold"] = "tuned"
        meta.write_text(json.dumps({**kept, "digest": description_digest(kept)}))
    flowseg(monkeypatch, "eval", run)
    flowseg(monkeypatch, "analyze", "film", run, "--out", tmp_path / "report")
    threshold = json.loads((run / "eval" / "test" / "metrics.json").read_text())["threshold"]
    assert threshold == content(tmp_path / "report")["threshold"] != 0.5
    with (run / "eval" / "test" / "per_image.csv").open() as file:
        scored = [float(row["dice"]) for row in csv.DictReader(file)]
    own = content(tmp_path / "report")["conditions"]["own"]["per_image"]["dice"]
    np.testing.assert_allclose(own, scored, atol=1e-6)


def test_the_mean_embedding_is_that_of_the_run_s_own_training_images(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    """Also if another data set with a training split of its own is analysed."""
    run, other = open_run(trained), tmp_path / "other"
    write_phantoms(other, size=64, counts={"train": 3, "val": 2, "test": 2}, seed=5)
    opened = {root: Trained.open(run, data=str(root)) for root in (data, other)}
    datasets = {root: one.prepare(("train", "test")).datasets for root, one in opened.items()}
    expected = datasets[data]["train"].embeddings().mean(axis=0)
    for root, split in product((data, other), ("test", "train")):
        mean, said = mean_embedding(opened[root], datasets[root][split])
        np.testing.assert_allclose(mean, expected, rtol=1e-6)
        assert said == Message("film_mean_train", {"n": 4})
    # Without them the analysed split stands in, and that is said.
    gone = replace(run.config, data=replace(run.config.data, root=str(tmp_path / "gone")))
    alone = replace(opened[other], run=replace(run, config=gone))
    mean, said = mean_embedding(alone, datasets[other]["test"])
    np.testing.assert_allclose(mean, datasets[other]["test"].embeddings().mean(axis=0), rtol=1e-6)
    assert said.key == "film_mean_here" and str(tmp_path / "gone") in said.values["error"]


def test_a_report_is_replaced_whole_or_not_at_all(
    report: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(report, tmp_path / "report"))
    (out / "plots" / "stale.png").write_text("of an earlier report")
    before = sorted(p.relative_to(out) for p in out.rglob("*"))

    def fails(*args: object, **kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(film, "render", fails)
        with pytest.raises(SystemExit):
            flowseg(patch, "analyze", "film", trained, "--images", "2", "--out", out)
    assert sorted(p.relative_to(out) for p in out.rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    flowseg(monkeypatch, "analyze", "film", trained, "--images", "2", "--out", out)
    assert len(content(out)["images"]) == 2 and not (out / "plots" / "stale.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
