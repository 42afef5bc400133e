"""`flowseg data`: what the commands print, write and refuse."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Flowseg
from PIL import Image

from flowseg.data.folders import find_pairs
from flowseg.data.folds import FOLD, split_pairs
from flowseg.datasets import write


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two images of each of six patients, with labels of another name in a folder beside."""
    rng = np.random.default_rng(0)
    for n in range(6):
        for eye in "lr":
            save(tmp_path / "own" / "pictures" / f"p{n}_{eye}.png", rng.integers(0, 256, (20, 24)).astype(np.uint8))
            mask = rng.random((20, 24)) > 0.8
            save(tmp_path / "own" / "drawn" / f"p{n}_{eye}-vessels.tif", np.where(mask, 255, 0).astype(np.uint8))
    return tmp_path / "own"


def split_args(own: Path, *more: object) -> tuple[object, ...]:
    pattern = ("--labels-pattern", "{}-vessels.tif")
    return ("data", "split", own / "pictures", own / "drawn", own / "out", *pattern, *more)


def test_own_images_are_split_by_patient(flowseg: Flowseg, own: Path) -> None:
    outcome = flowseg(*split_args(own, "--group", r"p(\d+)", "--val", 0.2))
    assert outcome.status == 0 and outcome.err == ""
    assert outcome.out == f"{own / 'out'}: 8 train, 2 val, 2 test images\n"
    patients = [{pair.image.stem[:2] for pair in find_pairs(own / "out", split)} for split in ("train", "val", "test")]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 6
    about = json.loads((own / "out" / "dataset.json").read_text())
    assert about["counts"] == {"train": 8, "val": 2, "test": 2}
    assert about["seed"] == 0 and r"images for which p(\d+) finds the same are in one split" in about["split"]
    assert "val drawn, 0.2 of the images" in about["split"]
    # Folds of a cross-validation keep to them.
    parts = [{pair.image.stem[:2] for pair in split_pairs(own / "out", FOLD, f"{k}/4")} for k in range(1, 5)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5


def test_images_and_labels_of_one_folder(flowseg: Flowseg, own: Path) -> None:
    for path in (own / "drawn").iterdir():
        path.rename(own / "pictures" / path.name)
    save(own / "pictures" / "p0_l-second.bmp", np.zeros((20, 24), np.uint8))
    patterns = ("--images-pattern", "{}.png", "--labels-pattern", "{}-vessels.*")
    outcome = flowseg("data", "split", own / "pictures", own / "pictures", own / "out", *patterns)
    assert outcome.status == 0
    assert outcome.out.endswith("note: files that fit neither pattern are left out (1): p0_l-second.bmp\n")
    assert sum(len(find_pairs(own / "out", split)) for split in ("train", "val", "test")) == 12


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--images-pattern", "*.png"), "--images-pattern *.png: must have {} once"),
        (("--images-pattern", "{}.bmp"), "no images fit --images-pattern {}.bmp"),
        (("--group", "("), "--group (: is no regular expression"),
        (("--group", r"q\d"), r"--group q\d: finds nothing in the name p0_l"),
        (("--group", "p"), "1 group of images"),
        (("--val", 0.6, "--test", 0.4), "--val and --test add up to 1"),
        (("--val", 1.5), "--val 1.5: must be at least 0 and less than 1"),
        (("--seed", -1), "--seed -1: must lie between 0 and 2147483647"),
        (("--label-values", "white"), "--label-values white: expected numbers or ranges"),
    ],
)
def test_wrong_options_are_refused(
    refused: Callable[..., str], own: Path, more: tuple[object, ...], said: str
) -> None:
    assert said in refused(*split_args(own, *more))


def test_names_that_do_not_pair_are_refused(refused: Callable[..., str], own: Path) -> None:
    message = refused("data", "split", own / "pictures", own / "drawn", own / "out")
    assert "p0_l.png" in message and "and 9 more: no label was found for it" in message
    message = refused("data", "split", own / "pictures", own / "pictures", own / "out")
    assert "no images fit --images-pattern {}.*" in message


def test_a_public_set_says_its_terms(flowseg: Flowseg, own: Path) -> None:
    rng = np.random.default_rng(1)
    for n in range(1, 6):
        save(own / "raw" / f"{n}.pgm", rng.integers(0, 256, (20, 24)).astype(np.uint8))
        save(own / "raw" / f"{n}_gt.pgm", np.where(rng.random((20, 24)) > 0.8, 255, 0).astype(np.uint8))
    outcome = flowseg("data", "import", "dca1", own / "raw", own / "out", "--test", 0.4)
    assert outcome.status == 0 and outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == f"{own / 'out'}: 2 train, 1 val, 2 test images"
    assert lines[1].startswith("licence: ") and lines[2].startswith("please cite: Cervantes-Sanchez")


def test_an_unknown_set_is_named(refused: Callable[..., str], own: Path) -> None:
    message = refused("data", "import", "driv", own, own / "out")
    assert "driv" in message and "chase-db1" in message


def test_a_signal_stops_between_two_images_and_leaves_nothing(
    flowseg: Flowseg, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    read = write.read_pixels

    def read_and_stop(file: object) -> np.ndarray:
        calls.append(file)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(file)  # type: ignore[arg-type]

    monkeypatch.setattr(write, "read_pixels", read_and_stop)
    before = sorted(own.iterdir())
    assert flowseg(*split_args(own)).status == 128 + signal.SIGTERM
    assert len(calls) == 3 and sorted(own.iterdir()) == before
