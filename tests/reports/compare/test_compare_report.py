"""Whole reports of made-up runs: what report.json holds, what the pages show, and what is written."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from made_runs import dice_of, make_run
from PIL import Image
from refusals import refusal

from flowseg.reports.compare import report as report_module
from flowseg.reports.compare.report import compare_runs
from flowseg.reports.compare.summary import KEYS
from flowseg.reports.compare.words import Words
from flowseg.runs.folder import OtherNetwork

MARKUP = "<script>&\"'"
"""Begins the name of every image and every run."""

COUNT = 24
FILM = {"model": {"dim": 8, "heads": 1, "head_dim": 8, "film": {"stages": [0]}}, "name": "film"}
WORSE = 0.06
"""The Dice that damaged labels cost here."""


def names(count: int = COUNT) -> list[str]:
    return [f"test/{MARKUP}{i:02d}" for i in range(count)]


def scores(seed: int, shift: float = 0.0) -> dict[str, list[float | None]]:
    """Dice and an error of which one image has none."""
    dice = dice_of(COUNT) + shift + np.random.default_rng(seed).normal(0, 0.01, COUNT)
    return {"dice": list(dice), "hd95": [None, *(float(v) for v in 20 * (1 - dice[1:]))], "mystery": list(dice)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run, another seed of it, and one whose labels were damaged."""
    root = tmp_path_factory.mktemp("runs")
    dices = {4: 0.6, 8: 0.7, 12: 0.75}
    losses = [0.5 / e for e in range(1, 13)]
    common = {"dices": dices, "losses": losses, "images": names()}
    make_run(root / f"{MARKUP}good", scores=scores(1), **common)
    make_run(root / "other-seed", seed=1, scores=scores(2, 0.012), **common)
    make_run(root / "damaged", scores=scores(3, -WORSE), config={"data": {"root": "damaged"}}, **common)
    return root


def content(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def compare(out: Path, *paths: Path | str, **options: object) -> dict:
    compare_runs([str(path) for path in paths], out, **options)  # type: ignore[arg-type]
    return content(out)


@pytest.fixture(scope="module")
def seeds(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "seeds"
    compare(out, runs / f"{MARKUP}good", runs / "other-seed")
    return out


@pytest.fixture(scope="module")
def damaged(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "damaged"
    compare(out, runs / f"{MARKUP}good", runs / "damaged")
    return out


def test_two_seeds_of_one_config_are_not_different(seeds: Path) -> None:
    found = content(seeds)
    dice = found["tests"][0]
    assert dice["metric"] == "dice" and dice["low"] > 0 and dice["p_holm"] < 0.05  # the images alone would say so
    assert dice["winner"] is None and dice["better"] == "other-seed"
    assert all(row["winner"] is None for row in found["winners"])
    assert {row["rule"] for row in found["winners"]} == {"seeds_only", "same_count"}
    assert found["headline"][0].endswith("are one set-up trained with different seeds: not different.")
    assert found["differing"] == []


def test_damaged_labels_are_reported_as_worse(damaged: Path) -> None:
    found = content(damaged)
    good = f"{MARKUP}good"
    winners = {row["item"]: row["winner"] for row in found["winners"]}
    assert winners["test:dice"] == winners["test:hd95"] == good
    assert winners["test:mystery"] is None  # a column whose direction is not known
    assert winners["best_dice"] is None  # one value against one
    assert f"{good} is better than damaged on the test images: Dice +0.06" in found["headline"][0]
    assert {row["field"] for row in found["differing"]} == {"data.root"}


def test_report_json_is_whole_and_says_what_it_holds(damaged: Path) -> None:
    found = content(damaged)
    assert set(found) == set(found["keys"]) == set(KEYS)
    for run in found["runs"]:
        said = found["keys"]["runs"]
        assert all(re.search(rf"\b{key}\b", said) for key in run), [k for k in run if k not in said]
        assert run["parameters"] == found["groups"][0]["parameters"]["total"]
        assert run["measurements"] == 3 and run["carried_forward"] is False and run["values"] == 3
        assert run["epochs"] == {"first": 1, "last": 12, "max": 12}
    assert {"name", "parameters", "epochs", "measurements", "carried_forward", "best", "last", "windows", "jumps"} | {
        *("falls", "loss_anomalies", "gaps")
    } <= set(found["runs"][0])
    for test in found["tests"]:
        assert all(re.search(rf"\b{key}\b", found["keys"]["tests"]) for key in test)
    assert [t["n"] for t in found["tests"]] == [COUNT, COUNT - 1, COUNT]
    assert found["test"]["per_image"]["damaged"]["hd95"][0] is None
    assert found["test"]["means"]["damaged"]["hd95"]["n"] == COUNT - 1
    dice = found["tests"][0]
    assert (
        dice["difference"] == pytest.approx(-WORSE, abs=0.01) and dice["low"] < dice["difference"] < dice["high"] < 0
    )
    assert dice["detectable"] < WORSE and dice["images_needed"] < COUNT and dice["effect"] == pytest.approx(-1)


def test_the_page_needs_nothing_else_and_shows_names_as_text(damaged: Path) -> None:
    text = (damaged / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(asked.startswith(("data:image/webp;base64,", "#")) for asked in page.asked)
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
    assert "@import" not in text and "url(" not in text
    assert page.tags.count("script") == 1 and not set(page.tags) & {"link", "iframe", "object"}
    assert f"{MARKUP}good" in page.text and f"test/{MARKUP}00" in page.text
    anchors = {asked[1:] for asked in page.asked if asked.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))
    markdown = (damaged / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown and "&lt;script&gt;" in markdown
    for svg in (damaged / "plots").iterdir():
        drawn = svg.read_text(encoding="utf-8")
        assert "<script>" not in drawn and MARKUP in Page(drawn).text


def test_the_gallery_shows_its_cases(damaged: Path) -> None:
    found = content(damaged)
    assert len(found["gallery"]) == len({case["image"] for case in found["gallery"]}) >= 3
    values = found["test"]["per_image"]
    worst = int(np.argmin(np.array(values["damaged"]["dice"]) - np.array(values[f"{MARKUP}good"]["dice"])))
    assert found["gallery"][0]["image"] == found["test"]["images"][worst]
    assert found["gallery"][0]["kinds"][0] == "worsened"
    text = (damaged / "report.html").read_text(encoding="utf-8")
    views = found["gallery"][0]["pictures"]["views"]
    assert views == ["image", "mask", "prediction", "probability", "uncertainty"]
    # Five views of two runs and a picture of the difference.
    assert text.count("<img ") == 11 * len(found["gallery"])
    markdown = (damaged / "report.md").read_text(encoding="utf-8")
    for case in found["gallery"]:
        file = case["pictures"]["file"]
        assert f"({file})" in markdown
        with Image.open(damaged / file) as picture:
            assert picture.format == "WEBP" and picture.width > 4 * picture.height


def test_single_runs_are_no_means_over_seeds(damaged: Path) -> None:
    for page in (Page((damaged / name).read_text(encoding="utf-8")).text for name in ("report.md", "report.html")):
        assert not any(Words("en")(key) in page for key in ("test_seeds", "gallery_seeds", "limit_seeds"))


def test_no_name_stands_in_a_drawing(damaged: Path) -> None:
    """It may be longer than a phone is wide: the caption names the groups."""
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", (damaged / "report.html").read_text(encoding="utf-8"))
    assert "Dice difference" in drawn and not any("damaged" in text for text in drawn)


def test_pages_show_the_same_numbers(damaged: Path) -> None:
    found = content(damaged)
    for text in ((damaged / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")):
        dice = found["tests"][0]
        for shown in (f"{dice['mean_a']:.4f}", f"{dice['difference']:+.4f}", f"{dice['effect']:+.2f}"):
            assert shown in text
        assert all(f"{window['mean_dice']:.4f}" in text for run in found["runs"] for window in run["windows"])


def test_evaluations_of_older_versions_have_fewer_views(runs: Path, tmp_path: Path) -> None:
    """Without prediction.png there is no gallery picture; the scores are compared all the same."""
    old = Path(shutil.copytree(runs / "damaged", tmp_path / "old"))
    for name in ("probability", "uncertainty"):
        for path in (old / "eval" / "test" / "images").glob(f"*/{name}.png"):
            path.unlink()
    found = compare(tmp_path / "out", runs / "other-seed", old)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert found["gallery"][0]["pictures"]["views"][-1] == "uncertainty"
    assert "uncertainty: not in this evaluation" in page
    for path in (old / "eval" / "test" / "images").glob("*/prediction.png"):
        path.unlink()
    found = compare(tmp_path / "out", runs / "other-seed", old)
    assert all(case["pictures"] is None for case in found["gallery"]) and found["tests"][0]["winner"] == "other-seed"
    for name in ("report.html", "report.md"):
        page = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "old: the pictures are not there" in page and "other-seed: the pictures" not in page
        assert found["gallery"][0]["image"].removeprefix(f"test/{MARKUP}") in page


def test_groups_are_compared_over_seeds(tmp_path: Path) -> None:
    """Three seeds each: the groups differ by more than seeds do, and images and seeds both say so."""
    dices = {4: 0.6, 8: 0.7, 12: 0.75}
    for seed in range(3):
        common = {"seed": seed, "losses": [0.3] * 12, "images": names()}
        make_run(tmp_path / "base" / str(seed), dices=dices, scores=scores(seed), **common)
        higher = {e: d + 0.05 + 0.002 * seed for e, d in dices.items()}
        make_run(tmp_path / "film" / str(seed), dices=higher, scores=scores(seed + 5, 0.04), config=FILM, **common)
    found = compare(tmp_path / "out", tmp_path / "base", f"{tmp_path}/film/*", lang="ko")
    assert [(g["name"], g["seeds"], len(g["runs"])) for g in found["groups"]] == [
        ("base", [0, 1, 2], 3),
        ("film", [0, 1, 2], 3),
    ]
    winners = {row["item"]: (row["winner"], row["rule"]) for row in found["winners"]}
    assert winners["test:dice"] == ("film", "wins_images_and_seeds")
    assert winners["best_dice"] == ("film", "wins_seeds") and winners["parameters"][0] == "base"
    figures = {(s["group"], s["metric"]): s for s in found["seeds"]}
    assert set(figures[("film", "dice")]["values"]) == {"0", "1", "2"}
    over = next(s for s in found["seed_tests"] if s["metric"] == "dice")
    assert over["paired"] and over["low"] > 0 and over["difference"] == pytest.approx(0.04, abs=0.01)
    # The images' values are means over seeds.
    tables = [
        np.genfromtxt(tmp_path / "film" / str(s) / "eval/test/per_image.csv", delimiter=",", names=True)["dice"]
        for s in range(3)
    ]
    np.testing.assert_allclose(found["test"]["per_image"]["film"]["dice"], np.mean(tables, axis=0), atol=1e-9)
    # What the pictures are of, and what is not corrected, is said.
    words = Words("ko")
    for name in ("report.md", "report.html"):
        page = Page((tmp_path / "out" / name).read_text(encoding="utf-8")).text
        assert all(words(key) in page for key in ("test_seeds", "gallery_seeds", "limit_seeds"))


def test_means_that_stand_side_by_side_are_over_the_same_images(tmp_path: Path) -> None:
    """Where a run lacks the error of its easiest image, no mean or seed beside it counts that image."""
    made = {
        name: [scores(first + s, shift) for s in (0, 1)]
        for name, first, shift in (("base", 1, 0.0), ("film", 6, 0.04))
    }
    easiest = int(np.argmin([v if v is not None else np.inf for v in made["base"][0]["hd95"]]))
    made["base"][1]["hd95"][easiest] = None
    for name, of_seeds in made.items():
        for seed, values in enumerate(of_seeds):
            config = FILM if name == "film" else None
            make_run(tmp_path / name / str(seed), seed=seed, scores=values, images=names(), config=config)
    found = compare(tmp_path / "out", tmp_path / "base", tmp_path / "film")
    kept = [i for i in range(COUNT) if i not in (0, easiest)]
    means = {n: np.mean([[one["hd95"][i] for i in kept] for one in of_seeds], axis=1) for n, of_seeds in made.items()}
    of_seeds = {s["group"]: s for s in found["seeds"] if s["metric"] == "hd95"}
    for name, group in of_seeds.items():
        np.testing.assert_allclose(list(group["values"].values()), means[name], rtol=1e-5)
        assert group["images"] == COUNT - 2
    test = next(one for one in found["tests"] if one["metric"] == "hd95")
    np.testing.assert_allclose((test["mean_a"], test["mean_b"]), [means[n].mean() for n in made], rtol=1e-5)
    over = next(s for s in found["seed_tests"] if s["metric"] == "hd95")
    assert over["difference"] == pytest.approx(test["difference"], rel=1e-5)
    for file in ("report.md", "report.html"):
        page = (tmp_path / "out" / file).read_text(encoding="utf-8")
        assert f"{test['mean_b']:.2f}" in page and f"{COUNT - 2} images" in page
        assert f"{found['test']['means']['film']['hd95']['mean']:.2f}" not in page


def test_mask_rules_of_all_runs_are_shown(runs: Path, tmp_path: Path) -> None:
    """Rules that were tuned differently are a part of the comparison; settings that differ are a warning."""

    def compared(name: str, **second: object) -> dict:
        """Against two seeds of a group whose second evaluation is as given."""
        tuned = {"threshold": "tuned", "min_component": "auto"}
        for seed, said in enumerate(({}, second)):
            about = {"sampler": tuned, "threshold": 0.5, "min_component": 0} | said
            common = {"images": names(), "config": FILM, "about": about, "scores": scores(seed + 5)}
            make_run(tmp_path / name / str(seed), seed=seed, **common)
        other = make_run(tmp_path / f"{name}-b", images=names(), scores=scores(1), about={"sampler": tuned})
        return compare(tmp_path / f"{name}-out", tmp_path / name, other)

    found = compared("rules", threshold=0.41, min_component=30)
    assert found["test"]["evaluation"] == [
        {"field": "mask.threshold", "values": {"rules": [0.5, 0.41], "rules-b": 0.5}},
        {"field": "mask.min_component", "values": {"rules": [0, 30], "rules-b": 0}},
    ]
    assert sum("The masks were made by different rules" in line for line in found["limits"]) == 1
    assert not any("differ in their settings" in line for line in found["limits"])
    assert "[0.5, 0.41]" in (tmp_path / "rules-out" / "report.html").read_text(encoding="utf-8")
    found = compared("asked", sampler={"threshold": "fixed", "min_component": 30}, min_component=30)
    assert any("differ in their settings (min_component and threshold)" in line for line in found["limits"])
    assert not any("different rules" in line for line in found["limits"])
    assert compared("alike")["test"]["evaluation"] == []


def test_a_report_with_sauna_maps_says_what_they_are_not(runs: Path, tmp_path: Path) -> None:
    other = {"flow": {"family": "gaussian"}, "data": {"target": "sauna"}, "eval": {"sampler": "midpoint"}}
    for name, shift, config in (("a", 0.0, None), ("b", 0.05, other)):
        dice = list(dice_of(COUNT) - shift)
        make_run(tmp_path / name, scores={"dice": dice, "ece": dice}, images=names(), config=config)
    found = compare(tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert {row["item"]: row["rule"] for row in found["winners"] if row["item"].startswith("test:")} == {
        "test:dice": "wins_images",
        "test:ece": "no_probability",
    }
    assert sum(line.startswith("b: trained on SAUNA maps") for line in found["limits"]) == 1
    found = compare(tmp_path / "out", tmp_path / "a", runs / "other-seed")
    assert not any("SAUNA" in line for line in found["limits"])


def test_three_set_ups_are_compared_two_by_two(runs: Path, tmp_path: Path) -> None:
    third = make_run(tmp_path / "film", scores=scores(9), images=names(), config=FILM, dices={1: 0.4})
    found = compare(tmp_path / "out", runs / f"{MARKUP}good", runs / "damaged", third)
    assert [(t["a"], t["b"]) for t in found["tests"][::3]] == [
        (f"{MARKUP}good", "damaged"),
        (f"{MARKUP}good", "film"),
        ("damaged", "film"),
    ]
    assert len(found["headline"]) == 3 and len(found["courses"]) == 3
    # Of each pair it is said who is better than whom.
    better = [line.split(" in ")[0] for line in found["conclusions"] if " is better than " in line]
    assert better == [f"{MARKUP}good, film is better than damaged"]
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(found["gallery"][0]["pictures"]["differences"]) == 2 and "damaged − &lt;script&gt;" in text
    # A reason to show an image says which of them it is about.
    tags = set(re.findall(r'<span class="tag">([^<]*)</span>', text))
    assert {"most worsened: damaged", "most worsened: film", "hardest"} <= tags and "most worsened" not in tags
    assert "most worsened: film" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_log_of_another_tool_beside_a_run(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,train_loss,val_dice\n" + "".join(f"{e},0.1,{0.5 + e / 100}\n" for e in range(1, 13)))
    found = compare(tmp_path / "out", path, runs / "damaged")
    assert found["test"] is None and found["tests"] == [] and found["runs"][0]["parameters"] is None
    assert any("log: a log from another tool brings no test scores" in line for line in found["limits"])
    # Beside two runs it stands apart from their test.
    found = compare(tmp_path / "out", path, runs / "damaged", runs / "other-seed")
    assert [(t["a"], t["b"]) for t in found["tests"]] == [("damaged", "other-seed")] * 3
    assert [g["name"] for g in found["groups"]] == ["log", "damaged", "other-seed"] and len(found["headline"]) == 3
    assert any("log: a log from another tool brings no test scores" in line for line in found["limits"])


def test_an_imported_run_has_scores_and_no_log(runs: Path, tmp_path: Path) -> None:
    imported = Path(shutil.copytree(runs / "damaged", tmp_path / "imported"))
    (imported / "metrics.jsonl").unlink()
    found = compare(tmp_path / "out", runs / "other-seed", imported)
    run = found["runs"][1]
    assert run["best"] is None and run["epochs"] == {"first": None, "last": None, "max": 12} and run["windows"] == []
    assert found["early"] is None and found["tests"][0]["winner"] == "other-seed"


def test_another_program_s_network_beside_a_run(runs: Path, tmp_path: Path) -> None:
    """Settings of flowseg's network are not held against it, and it has not stopped before its planned epochs."""
    network = OtherNetwork("plain U-Net", 1234, {"minutes": 25})
    config = {"name": "other", "model": {}, "flow": {"sigma": 0.5}, "optim": {"lr": 0.5}, "train": {"epochs": 50}}
    common = {"dices": {4: 0.6, 8: 0.7}, "losses": [0.5 / e for e in range(1, 13)], "images": names()}
    make_run(tmp_path / "other", config=config, network=network, scores=scores(4, -WORSE), **common)
    found = compare(tmp_path / "out", runs / "damaged", runs / f"{MARKUP}good", tmp_path / "other")
    assert found["groups"][2]["parameters"] == {"total": 1234, "base": 1234, "conditioner": 0, "film_heads": 0}
    fields = {row["field"]: row["values"]["other"] for row in found["differing"]}
    assert fields == {"name": "other", "data.root": None, "optim.lr": 0.5, "network": "plain U-Net"} | {
        "network.minutes": 25
    }
    assert found["test"]["evaluation"] == []
    assert found["runs"][2]["epochs"]["max"] is None
    rules = {row["rule"] for row in found["winners"] if row["item"] == "steadiness" and "other" in row["between"]}
    assert rules == {"other_loss"}


def test_the_early_phase_can_be_chosen(runs: Path, tmp_path: Path) -> None:
    found = compare(tmp_path / "out", runs / "other-seed", runs / "damaged", early=(3, 9))
    assert (found["early"]["from"], found["early"]["to"]) == (3, 9)
    assert [row["measurements"] for row in found["early"]["per_run"]] == [2, 2]
    for early, said in (((9, 3), "runs backwards"), ((20, 30), "has logged none of these epochs, only 1 to 12")):
        assert said in refusal(
            lambda early=early: compare(tmp_path / "x", runs / "other-seed", runs / "damaged", early=early)
        )


def test_a_report_is_replaced_whole_or_not_at_all(
    damaged: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(damaged, tmp_path / "report"))
    before = sorted(p.relative_to(out) for p in out.rglob("*"))

    def fails(*args: object, **kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(report_module, "render", fails)
        message = refusal(lambda: compare(out, runs / "other-seed", runs / "damaged"))
    assert "cannot be written (No space left on device)" in message
    assert sorted(p.relative_to(out) for p in out.rglob("*")) == before
    compare(out, runs / "other-seed", runs / "damaged")
    assert content(out)["runs"][0]["name"] == "other-seed" and [p.name for p in tmp_path.iterdir()] == ["report"]


def test_the_same_runs_give_the_same_report(runs: Path, damaged: Path, tmp_path: Path) -> None:
    compare(tmp_path / "again", runs / f"{MARKUP}good", runs / "damaged")
    for name in ("report.json", "report.html", "report.md"):
        assert (tmp_path / "again" / name).read_bytes() == (damaged / name).read_bytes()
