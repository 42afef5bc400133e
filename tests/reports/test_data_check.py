"""The page about a data set: it is whole, asks for nothing, shows names as text, and fits a phone."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from html_page import Page
from made_data import make_data
from refusals import refusal

from flowseg.reports.data_check import check_data, choose

MARKUP = "<img src=x onerror=alert(1)>&"
LONG = "a_name_that_is_much_longer_than_a_phone_is_wide_and_has_no_place_to_break_a_line_at"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with an image that is in two splits, one without a label, and names that are markup or very long."""
    root = make_data(tmp_path_factory.mktemp("set") / "<i>data", counts={"train": 3, "val": 1, "test": 1})
    for kind in ("image", "label"):
        (root / "train" / kind / "0.png").rename(root / "train" / kind / f"{MARKUP}.png")
        (root / "train" / kind / "1.png").rename(root / "train" / kind / f"{LONG}.png")
        shutil.copy(root / "train" / kind / f"{MARKUP}.png", root / "test" / kind / f"{MARKUP}.png")
    shutil.copy(root / "val" / "image" / "0.png", root / "val" / "image" / f"{MARKUP}.png")
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> Path:
    out = root.parent / "new" / "page.html"
    check_data(root, out, 300)
    return out


def test_the_page_holds_everything_and_asks_for_nothing(root: Path, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    read = Page(text)
    assert all(asked.startswith(("#", "data:image/webp;base64,")) for asked in read.asked)
    assert read.tags.count("img") == 6 and "script" not in read.tags and "i" not in read.tags
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert {asked[1:] for asked in read.asked if asked.startswith("#")} <= ids
    assert f"train/{MARKUP}" in read.text and "Data set: <i>data" in read.text
    assert f"test/{MARKUP}" in read.text and "the same image in two splits (1 image)" in read.text
    assert "Training would refuse this data: " in read.text and "All images that can be read (6)." in read.text
    assert f"{root}/val/image/{MARKUP}.png: has no label" in read.text


def test_the_summary_is_json(root: Path, tmp_path: Path) -> None:
    summary = check_data(root, tmp_path / "page.html", 300)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["counts"]["error"] == sum(one["severity"] == "error" for one in summary["findings"])
    train, val, test = summary["splits"]
    assert (train["images"], val["images"], test["images"]) == (3, 1, 2)
    assert (train["sizes"], train["depths"], train["darker"], train["brighter"]) == ({"112x96": 3}, {"8-bit": 3}, 3, 0)
    shares = [image["vessel"] for image in summary["images"] if image["key"].startswith("train/")]
    assert train["vessel"] == pytest.approx({"mean": sum(shares) / 3, "low": min(shares), "high": max(shares)})


def test_fewer_images_are_those_with_findings_and_others_by_seed(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    check_data(root, out, 3)
    read = Page(out.read_text(encoding="utf-8"))
    assert read.tags.count("img") == 3 and "3 of 6 images: those with findings first" in read.text
    keys = [f"train/{number}" for number in range(20)]
    assert choose(keys, ["train/7", "gone", "train/3"], 2, 0) == ["train/3", "train/7"]
    first = choose(keys, ["train/7"], 5, 0)
    assert len(first) == 5 and "train/7" in first and first == sorted(first, key=keys.index)
    assert first == choose(keys, ["train/7"], 5, 0) != choose(keys, ["train/7"], 5, 1)
    assert choose(keys, [], 0, 0) == [] and choose(keys, [], 30, 0) == keys


def test_a_page_is_replaced_and_nothing_else(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("<title>My thesis</title>")
    assert "holds something other than a page" in refusal(lambda: check_data(root, out, 0))
    assert out.read_text() == "<title>My thesis</title>"
    out.write_bytes(b"\xff\xfe\x00")
    assert "holds something other than a page" in refusal(lambda: check_data(root, out, 0))
    assert "is a folder" in refusal(lambda: check_data(root, tmp_path, 0))
    out.unlink()
    for images in (1, 2):
        check_data(root, out, images)
    assert f"{2} of 6 images" in out.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [out]


def test_a_set_without_a_pair_that_can_be_read_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    summary = check_data(tmp_path / "data", tmp_path / "page.html", 300)
    assert [one["severity"] for one in summary["findings"]] == ["error"] * 3
    assert summary["recipes"] == [] and "has no folder image or images" in summary["findings"][0]["message"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    from browser import started

    with started() as made:
        yield made


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits(chromium, page: Path, width: int, dark: bool) -> None:
    from browser import outside, show

    show(chromium, page, width, dark)
    chromium.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert outside(chromium, width) == []
    assert chromium.get_log("browser") == []
    broken = "return [...document.images].filter(i => i.loading !== 'lazy' && !i.naturalWidth).length"
    assert chromium.execute_script(broken) == 0
    # A phone shows two images beside each other.
    sides = chromium.execute_script("return [...document.querySelectorAll('.sheet img')].map(i => i.offsetWidth)")
    assert min(sides) > 120 and max(sides) < width / 1.9
