"""Batches: a pure function of seed and step, every image once an epoch, rows that belong together."""

from dataclasses import replace
from pathlib import Path

import grain
import numpy as np
import pytest

from flowseg.config import Config, DataConfig, TargetKind, TrainConfig
from flowseg.data.augment import random_example
from flowseg.data.dataset import Dataset
from flowseg.data.image_files import read_label
from flowseg.data.pipeline import halved, iterate, steps_per_epoch, training_batches

CONFIG = Config(data=DataConfig(crop=32, vessel_crops=0.3), train=TrainConfig(batch=4))
IMAGES = 6
# Names each image in the batches.
NUMBERS = np.arange(IMAGES, dtype=np.float32)[:, None] * np.ones(3, np.float32)


@pytest.fixture(scope="module")
def dataset(tiny_data: Path) -> Dataset:
    loaded = Dataset(tiny_data, "train", CONFIG.data)
    loaded.load()
    return loaded


def batches_of(dataset: Dataset, *, seed: int = 0, batch: int = 4) -> grain.MapDataset:
    config = replace(CONFIG, seed=seed, train=TrainConfig(batch=batch))
    return training_batches(config, dataset.with_embeddings(NUMBERS))


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_shapes_and_types(dataset: Dataset) -> None:
    batch = batches_of(dataset)[0]
    assert {name: value.shape for name, value in batch.items()} == {
        "image": (4, 32, 32, 1),
        "target": (4, 32, 32, 1),
        "embedding": (4, 3),
    }
    assert all(value.dtype == np.float32 for value in batch.values())
    assert "embedding" not in training_batches(CONFIG, dataset)[0]


def test_a_batch_does_not_depend_on_what_was_asked_before(dataset: Dataset) -> None:
    forwards = [batches_of(dataset)[k] for k in range(7)]
    fresh = batches_of(dataset)
    for k in (6, 0, 3, 3, 1):
        assert_same(fresh[k], forwards[k])


def test_hosts_have_the_rows_of_one_host_between_them(dataset: Dataset) -> None:
    config = replace(CONFIG, train=TrainConfig(batch=4))
    numbered = dataset.with_embeddings(NUMBERS)
    for hosts in (2, 4):
        parts = [iterate(training_batches(config, numbered, host, hosts), 3, 8, 2) for host in range(hosts)]
        for step, rows in enumerate(zip(*parts, strict=True), 3):
            together = {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}
            assert_same(together, batches_of(dataset)[step])


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("start", [0, 1, 5, 1000])
def test_iterating_from_a_step_gives_that_step_s_batches(dataset: Dataset, start: int, threads: int) -> None:
    batches = batches_of(dataset)
    found = list(iterate(batches, start, start + 3, threads))
    assert len(found) == 3
    for k, batch in enumerate(found, start):
        assert_same(batch, batches[k])


def test_keeping_images_in_memory_changes_nothing(dataset: Dataset, tiny_data: Path) -> None:
    read_again = Dataset(tiny_data, "train", replace(CONFIG.data, cache_gib=0.0))
    read_again.load()
    assert read_again._examples is None and dataset._examples is not None
    assert_same(batches_of(read_again)[2], batches_of(dataset)[2])


@pytest.mark.parametrize("target", ["mask", "coverage"])
def test_the_first_batches_are_scaled_down(dataset: Dataset, target: TargetKind) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, target=target))
    numbered = dataset.with_embeddings(NUMBERS)
    whole = training_batches(config, numbered)
    three_of_ten = replace(config.train, epochs=10, epoch_steps=1, half_size_share=0.3)
    sized = training_batches(replace(config, train=three_of_ten), numbered)
    assert_same(sized[3], whole[3])
    assert_same(next(iter(iterate(sized, 2, 4, 2))), sized[2])
    small, large = sized[2], whole[2]
    for name in ("image", "target"):
        assert small[name].shape == (4, 16, 16, 1) and small[name].dtype == np.float32
    corner = large["image"][1, 4:6, 10:12, 0]
    assert small["image"][1, 2, 5, 0] == pytest.approx(corner.mean())
    np.testing.assert_array_equal(small["embedding"], large["embedding"])
    between = np.abs(small["target"]) < 1
    assert between.any() if target == "coverage" else not between.any()


def test_a_field_of_view_is_scaled_down_with_its_image() -> None:
    weight = np.zeros((1, 4, 4, 1), np.float32)
    weight[0, :, :3] = 1  # a border through the middle of two pixels
    weight[0, 0, 2] = 0
    batch = {"image": weight, "target": 2 * weight - 1, "weight": weight}
    small = halved(batch, "mask")
    assert small["weight"][0, :, :, 0].tolist() == [[1, 0], [1, 1]]
    assert small["target"][0, :, :, 0].tolist() == [[1, -1], [1, 1]]


@pytest.mark.parametrize("column", [4, 5])
def test_a_vessel_one_pixel_wide_is_not_lost_at_half_size(column: int) -> None:
    target = np.full((1, 16, 16, 1), -1.0, np.float32)
    target[:, :, column] = 1
    assert (halved({"target": target}, "mask")["target"][0, :, 2] == 1).all()
    assert (halved({"target": target}, "coverage")["target"][0, :, 2] == 0).all()


def test_another_seed_gives_other_batches(dataset: Dataset) -> None:
    ours, theirs = ([batches_of(dataset, seed=seed)[k] for k in range(3)] for seed in (0, 1))
    for a, b in zip(ours, theirs, strict=True):
        assert not np.array_equal(a["image"], b["image"])
    assert any(not np.array_equal(a["embedding"], b["embedding"]) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("batch", [1, 2, 4, 6, 8])
def test_each_epoch_shows_every_image_once(dataset: Dataset, batch: int) -> None:
    epochs = 8
    batches = batches_of(dataset, batch=batch)
    steps = -(-epochs * IMAGES // batch)
    shown = np.concatenate([batches[k]["embedding"][:, 0] for k in range(steps)])[: epochs * IMAGES]
    orders = shown.reshape(epochs, IMAGES).astype(int)
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(IMAGES), (epochs, 1)))
    assert len(np.unique(orders, axis=0)) > epochs / 2  # a new order each time


def test_each_epoch_cuts_an_image_anew(dataset: Dataset) -> None:
    batches = batches_of(dataset, batch=IMAGES)
    for number in range(IMAGES):
        crops = []
        for k in range(4):
            batch = batches[k]
            crops.append(batch["image"][batch["embedding"][:, 0] == number][0].tobytes())
        assert len(set(crops)) == 4


def test_image_target_and_embedding_of_a_row_belong_together(dataset: Dataset) -> None:
    """Without augmentation each row is a part of the image that its embedding numbers, and of its target."""
    plain = replace(CONFIG.data, flip=0, quarter_turn=0, rotate=0, gamma=0)
    config = replace(CONFIG, data=replace(plain, crop=64))  # the whole image
    batch = training_batches(config, dataset.with_embeddings(NUMBERS))[3]
    for image, target, number in zip(batch["image"], batch["target"], batch["embedding"][:, 0], strict=True):
        example = dataset[int(number)]
        np.testing.assert_array_equal(image[..., 0], example.image)
        np.testing.assert_array_equal(target[..., 0], example.target)


def test_rows_are_augmented_examples(dataset: Dataset) -> None:
    """The rows of a batch differ in their crops though they come from one generator's seed."""
    batch = batches_of(dataset, batch=IMAGES)[0]
    assert len({image.tobytes() for image in batch["image"]}) == IMAGES
    made, _ = random_example(dataset[0].image, dataset[0].target, CONFIG.data, np.random.default_rng(0))
    assert made.shape == batch["image"].shape[1:3]


def test_steps_per_epoch() -> None:
    # 16 crops of each image; the published set has 155.
    for images, batch, steps in ((155, 6, 414), (6, 4, 24), (6, 96, 1), (1, 8, 2)):
        assert steps_per_epoch(replace(CONFIG, train=TrainConfig(batch=batch)), images) == steps
    once = replace(CONFIG, data=replace(CONFIG.data, crops_per_image=1), train=TrainConfig(batch=6))
    assert steps_per_epoch(once, 155) == 26
    assert steps_per_epoch(replace(CONFIG, train=TrainConfig(epoch_steps=20)), 155) == 20


def test_long_sides_are_resampled_and_the_stored_size_kept(tiny_data: Path) -> None:
    small = Dataset(tiny_data, "test", replace(CONFIG.data, max_side=40))
    small.load()
    for index in range(len(small)):
        example = small[index]
        assert example.size == (64, 64)
        assert example.image.shape == example.mask.shape == example.target.shape == (40, 40)
        assert np.abs(example.image).max() <= 1
        np.testing.assert_array_equal(example.target > 0, example.mask)
        full = read_label(small.pairs[index].label)
        assert example.mask.mean() == pytest.approx(full.mean(), rel=0.3)
