"""Fields of view in a data set: what is read and refused, where crops lie, and what a batch says counts."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from flowseg.config import Config, DataConfig, TrainConfig
from flowseg.data import dataset
from flowseg.data.augment import random_example
from flowseg.data.dataset import Dataset
from flowseg.data.folders import find_pairs
from flowseg.data.pipeline import training_batches
from flowseg.runs.prepare import prepare

CONFIG = Config(data=DataConfig(crop=16, vessel_crops=0.5), train=TrainConfig(batch=4))
Y, X = np.mgrid[:64, :64]
DISC = np.hypot(Y - 31, X - 25) < 20


def write(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255) if mask.dtype == bool else mask).save(path)


def with_fov(tiny_data: Path, root: Path, fov: np.ndarray = DISC, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """A copy of the tiny data set in which every image of some splits has the same field of view."""
    shutil.copytree(tiny_data, root)
    for split in splits:
        for image in (root / split / "image").iterdir():
            write(root / split / "fov" / image.name, fov)
    return root


def loaded(root: Path, split: str = "train", **settings: object) -> Dataset:
    dataset = Dataset(root, split, replace(CONFIG.data, **settings))  # type: ignore[arg-type]
    dataset.load()
    return dataset


@pytest.fixture(scope="module")
def root(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_fov(tiny_data, tmp_path_factory.mktemp("fov") / "data")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda fov: fov.unlink(), "0000.png: has no field of view"),
        (lambda fov: write(fov.with_name("other.png"), DISC), "fov/other.png: has no image"),
        (lambda fov: write(fov, DISC[:, :48]), "fov/0000.png: is 48x64 but its image is 64x64; a field of view has"),
        (lambda fov: write(fov, (DISC * 255 - DISC * (X < 20)).astype(np.uint8)), "3 values (0, 254, 255)"),
        (lambda fov: write(fov, DISC & False), "fov/0000.png: is black everywhere"),
    ],
)
def test_a_field_of_view_that_does_not_fit_is_one_line(
    tiny_data: Path, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    root = with_fov(tiny_data, tmp_path / "data")
    damage(root / "train" / "fov" / "0000.png")
    assert told in refusal(lambda: loaded(root))
    assert loaded(root, "val").has_fov and not loaded(root, "test").has_fov  # each split is on its own


def test_one_that_scaling_down_loses_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    root = with_fov(tiny_data, tmp_path / "data", (Y == 5) & (X % 7 == 0))
    assert loaded(root).has_fov
    message = refusal(lambda: loaded(root, max_side=32))
    assert "0000.png: is too small to be seen at 32x32 pixels; choose a larger data.max_side" in message


def test_a_scaled_pixel_is_inside_if_half_of_it_is(root: Path) -> None:
    """The same rule as for vessels: a label inside the field of view stays inside it."""
    example = loaded(root, max_side=32)[0]
    shares = DISC.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert example.fov is not None
    np.testing.assert_array_equal(example.fov, shares >= 0.5)
    assert (shares == 0.5).sum() > 0
    assert not (example.mask & ~example.fov).any()


def test_vessels_outside_are_told_and_do_not_count(
    tiny_data: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, inside = loaded(tiny_data), loaded(root)
    for settings in ({}, {"max_side": 32}):
        part = loaded(root, **settings)
        for i in range(len(part)):
            np.testing.assert_array_equal(part.truth(i), whole.truth(i) & DISC)
            np.testing.assert_array_equal(part.fov(i), DISC)
    assert (inside[0].target[~DISC] == -1).all() and inside[0].mask.any()
    shares = [(mask & ~DISC).sum() / mask.sum() for mask in (whole.truth(i) for i in range(len(whole)))]
    np.testing.assert_allclose(inside.outside, shares)
    prepare(replace(CONFIG, data=replace(CONFIG.data, root=str(root))))
    told = " ".join(capsys.readouterr().out.split())
    assert "NOTE: only pixels inside the field of view count (train, val)" in told
    assert "WARNING: labels of train have vessels outside the field of view, which do not count" in told
    assert f"{np.count_nonzero(shares)} of 6 labels, most of all" in told
    assert f"{max(shares):.2%} of its vessel pixels" in told
    prepare(replace(CONFIG, data=replace(CONFIG.data, root=str(tiny_data))))
    assert "field of view" not in capsys.readouterr().out


def test_files_are_read_and_hashed_by_the_reading_threads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that puts the examples together would keep them waiting."""
    hash_of, threads = dataset.content_hash, []
    monkeypatch.setattr(
        dataset, "content_hash", lambda values: threads.append(threading.current_thread()) or hash_of(values)
    )  # type: ignore[func-returns-value]
    loaded(root, threads=2)
    assert len(threads) == 2 * 6 and threading.current_thread() not in threads  # targets and fields of view


def test_the_digest_of_the_data_includes_it(tiny_data: Path, root: Path, tmp_path: Path) -> None:
    moved = with_fov(tiny_data, tmp_path / "moved", np.roll(DISC, 1, axis=0))
    everywhere = with_fov(tiny_data, tmp_path / "everywhere", DISC | True)
    digests = [loaded(path).digest() for path in (tiny_data, root, moved, everywhere)]
    assert len(set(digests)) == 4
    assert loaded(root).digest() == digests[1] and loaded(root, cache_gib=0.0).digest() == digests[1]
    assert loaded(root).subset([0, 1]).digest() != loaded(moved).subset([0, 1]).digest()


def test_a_field_of_view_of_the_whole_image_changes_no_batch(tiny_data: Path, tmp_path: Path) -> None:
    everywhere = with_fov(tiny_data, tmp_path / "data", DISC | True)
    plain, whole = (training_batches(CONFIG, loaded(path)) for path in (tiny_data, everywhere))
    for step in range(6):
        before, after = plain[step], whole[step]
        assert before.keys() == {"image", "target"}
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])
        assert (after["weight"] == 1).all() and after["weight"].dtype == np.float32
        assert after["weight"].shape == after["image"].shape


MOVING = replace(CONFIG.data, target="mask", flip=0.5, quarter_turn=0.5, rotate=0.7, zoom=0.5)


def example(config: DataConfig, seed: int, target: np.ndarray, fov: np.ndarray) -> tuple[np.ndarray, ...]:
    return random_example(target, target, config, np.random.default_rng(seed), fov)


def test_it_turns_with_its_image() -> None:
    """Where the label is the field of view itself, the two stay equal through crops, rotation, zoom, flips."""
    shares = []
    for seed in range(100):
        _, target, fov = example(MOVING, seed, np.where(DISC, np.float32(1), np.float32(-1)), DISC)
        differing = (target > 0) != (fov == 1)
        assert differing.mean() < 0.01  # a pixel of exactly one half
        assert set(np.unique(fov)) <= {0, 1} and fov.dtype == np.float32
        shares.append(fov.mean())
    assert min(shares) < 0.6 and max(shares) == 1


@pytest.mark.parametrize("vessel_crops", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("vessels", ["everywhere", "outside", "none"])
def test_crops_are_centred_inside_it(vessel_crops: float, vessels: str) -> None:
    lines = {"everywhere": X % 9 < 3, "outside": (X % 9 < 3) & ~DISC, "none": DISC & False}[vessels]
    target = np.where(lines, np.float32(1), np.float32(-1))
    config = DataConfig(crop=16, vessel_crops=vessel_crops, flip=0, quarter_turn=0, rotate=0, gamma=0)
    for seed in range(100):
        _, made, fov = example(config, seed, target, DISC)
        assert fov[8, 8] == 1  # DISC is far enough from the border that no crop is moved
        if vessels == "everywhere" and vessel_crops != 0.5:
            assert (made[8, 8] > 0) == (vessel_crops == 1)


def test_an_image_smaller_than_a_crop_has_its_field_of_view_mirrored_with_it() -> None:
    small = DISC[10:22, 8:30]
    target = np.where(small, np.float32(1), np.float32(-1))
    config = DataConfig(crop=16, flip=0, quarter_turn=0, rotate=0, gamma=0)
    for seed in range(20):
        _, made, fov = example(config, seed, target, small)
        np.testing.assert_array_equal(made > 0, fov == 1)


def test_pairs_carry_it(root: Path) -> None:
    assert find_pairs(root, "train")[0].fov == root / "train" / "fov" / "0000.png"
    assert find_pairs(root, "test")[0].fov is None
