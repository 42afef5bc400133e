"""Folds of a cross-validation: every image is left out once, and what is left out is never trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_data import angiogram, make_data, save
from refusals import refusal

from flowseg.config import DataConfig
from flowseg.data.dataset import Dataset
from flowseg.data.folders import Pair, find_pairs
from flowseg.data.folds import FOLD, split_pairs

COUNTS = {"train": 9, "val": 4, "test": 2}
SPLITS = ("train", "val", FOLD)
SHAPE = (24, 24)
FOLDS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of train, val and test have the same names."""
    return make_data(tmp_path_factory.mktemp("folds"), SHAPE, COUNTS)


def files(pairs: list[Pair]) -> set[Path]:
    return {pair.image for pair in pairs}


def test_every_image_is_left_out_once_and_not_trained_on(root: Path) -> None:
    pool = files(find_pairs(root, "train")) | files(find_pairs(root, "val"))
    left_out: list[Path] = []
    for k in range(1, FOLDS + 1):
        parts = {split: split_pairs(root, split, f"{k}/{FOLDS}") for split in SPLITS}
        assert set.union(*map(files, parts.values())) == pool and sum(map(len, parts.values())) == len(pool)
        assert all(parts.values()) and len(parts["val"]) == 3  # 4 of 13 images for validation are 3 of 10 or 11
        assert split_pairs(root, "test", f"{k}/{FOLDS}") == find_pairs(root, "test")
        assert parts == {split: split_pairs(root, split, f"{k}/{FOLDS}") for split in SPLITS}
        left_out += files(parts[FOLD])
    assert sorted(left_out) == sorted(pool)


def test_folds_are_about_equally_large_and_not_in_the_order_of_names(root: Path) -> None:
    parts = [split_pairs(root, FOLD, f"{k}/{FOLDS}") for k in range(1, FOLDS + 1)]
    assert sorted(map(len, parts)) == [2, 2, 3, 3, 3]
    assert any({pair.image.parent.parent.name for pair in part} == {"train", "val"} for part in parts)


def test_names_tell_split_and_origin(root: Path) -> None:
    """Two images of one name, from train and val, stay apart in tables and pictures."""
    keys = [pair.key for k in range(1, FOLDS + 1) for pair in split_pairs(root, FOLD, f"{k}/{FOLDS}")]
    assert sorted(keys) == sorted(f"fold/{split}-{i}" for split in ("train", "val") for i in range(COUNTS[split]))
    assert all(pair.key.startswith("val/") for pair in split_pairs(root, "val", "1/5"))


def test_patients_are_not_divided(root: Path, tmp_path: Path) -> None:
    own = make_data(tmp_path / "data", SHAPE, COUNTS)
    groups = {f"train/{i}": str(i // 3) for i in range(9)} | {"val/0": "0", "val/1": "1", "test/0": "0"}
    (own / "dataset.json").write_text(json.dumps({"name": "made", "groups": groups}))
    patients = []
    for k in (1, 2, 3):
        parts = {split: split_pairs(own, split, f"{k}/3") for split in SPLITS}
        found = {
            split: {groups.get(pair.key.split("/")[1].replace("-", "/"), pair.key.split("/")[1]) for pair in pairs}
            for split, pairs in parts.items()
        }
        assert sum(map(len, found.values())) == len(set.union(*found.values())) == 5
        patients += found[FOLD]
    assert sorted(patients) == ["0", "1", "2", "val-2", "val-3"]
    # An image that is taken away hurts nobody; one that is renamed or moved would lose its patient.
    named = {**groups, "val/2": "2", "val/3": "3", "val/4": "4", "test/1": "1"}
    (own / "dataset.json").write_text(json.dumps({"groups": named}))
    split_pairs(own, FOLD, "1/3")
    for kind in ("image", "label"):
        (own / "test" / kind / "1.png").rename(own / "train" / kind / "x.png")
    told = refusal(lambda: split_pairs(own, FOLD, "1/3"))
    assert told.startswith(f"{own / 'dataset.json'}: its groups name images that are not there (test/1, val/4)")
    assert "lack others (train/x); correct them" in told
    for text in ("[", "[" * 20_000 + "]" * 20_000):
        (own / "dataset.json").write_text(text)
        assert f"{own / 'dataset.json'}: cannot be read" in refusal(lambda: split_pairs(own, FOLD, "1/3"))


def test_mistakes_are_told(root: Path, tmp_path: Path) -> None:
    assert "was not trained on a fold (data.fold)" in refusal(lambda: split_pairs(root, FOLD, None))
    told = refusal(lambda: split_pairs(root, "train", "1/13"))
    assert told.startswith("data.fold = 1/13: ") and "13 folds take 14 or more: choose fewer folds" in told
    mixed = make_data(tmp_path / "data", SHAPE, COUNTS)
    for i in range(COUNTS["val"]):
        save(mixed / "val" / "fov" / f"{i}.png", np.full(SHAPE, 255, np.uint8))
    assert "either all images of train and val have a field of view, or none" in refusal(
        lambda: split_pairs(mixed, "train", "1/2")
    )


def test_a_data_set_of_a_fold_holds_its_images(root: Path) -> None:
    config = DataConfig(crop=16, fold="2/5")
    (first, *_), dataset = split_pairs(root, FOLD, "2/5"), Dataset(root, FOLD, config)
    np.testing.assert_array_equal(
        dataset[0].mask, angiogram(int(first.image.stem) + (9 if "val" in str(first.image) else 0), SHAPE)[1] > 0
    )
    assert dataset[0].key == first.key and len(dataset) == len(split_pairs(root, FOLD, "2/5"))


def test_a_fold_that_leaves_nothing_to_validate_on_is_refused_for_every_fold(tmp_path: Path) -> None:
    root = make_data(tmp_path, SHAPE, {"train": 2, "val": 1, "test": 1})
    for fold in ("1/2", "2/2"):
        told = refusal(lambda fold=fold: split_pairs(root, "train", fold))
        assert "leaves a single patient" in told and told.endswith("choose more folds")
