"""Controls have the shape of an encoder's vectors, depend on the seed, and carry no information about the image."""

from pathlib import Path

import numpy as np
import pytest
from encoders import Counting, run, write_images
from refusals import refusal

from flowseg.embeddings.controls import Constant, Random, Shuffled, other_image
from flowseg.embeddings.extract import extract
from flowseg.embeddings.images import LoadedImage, find_images, load_images
from flowseg.embeddings.shards import shard_of
from flowseg.embeddings.store import EmbeddingStore

NAMES = {
    f"{split}/{i}": f"{split}{i}" for split, count in (("train", 20), ("val", 2), ("test", 5)) for i in range(count)
}


def _images(count: int) -> list[LoadedImage]:
    grey = np.zeros((4, 4), np.uint8)
    return [LoadedImage(Path("x.png"), f"{i:032x}", grey) for i in range(count)]


def test_random_is_a_function_of_seed_and_content() -> None:
    images = _images(3)
    vectors = Random(1, 8).encode(images)
    np.testing.assert_array_equal(Random(1, 8).encode(images[::-1])[::-1], vectors)
    assert not np.isclose(Random(2, 8).encode(images), vectors).any()
    assert Random(1, 8).encoder != Random(2, 8).encoder


def test_random_is_standard_normal_and_of_one_image_as_of_another() -> None:
    vectors = Random(0).encode(_images(60))
    assert vectors.shape == (60, 2048) and vectors.dtype == np.float32
    assert abs(vectors.mean()) < 0.01 and abs(vectors.std() - 1) < 0.01
    correlations = np.corrcoef(vectors)[np.triu_indices(60, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2048)


def test_constant_is_the_same_for_all() -> None:
    vectors = Constant(0, 16).encode(_images(5))
    assert vectors.shape == (5, 16) and (vectors == vectors[0]).all() and vectors[0].std() > 0.3
    assert (Constant(1, 16).encode(_images(1))[0] != vectors[0]).all()


@pytest.mark.parametrize("seed", range(20))
def test_each_image_gets_another_of_its_split_each_used_once(seed: int) -> None:
    other = other_image(NAMES, seed)
    assert sorted(other) == sorted(other.values()) == sorted(NAMES.values())
    for content, given in other.items():
        assert given != content and given.rstrip("0123456789") == content.rstrip("0123456789")


def test_the_exchange_depends_on_the_seed_and_not_on_names() -> None:
    renamed = {f"{key}x": content for key, content in reversed(NAMES.items())}
    assert other_image(renamed, 3) == other_image(NAMES, 3) != other_image(NAMES, 4)


def test_a_picture_twice_in_a_folder_does_not_get_itself() -> None:
    for seed in range(10):
        other = other_image({"a": "one", "b": "one", "c": "two"}, seed)
        assert other == {"one": "two", "two": "one"}


@pytest.mark.parametrize("contents", [{"a": "one"}, {"a": "one", "b": "one"}, {**NAMES, "extra/0": "extra"}])
def test_fewer_than_two_images_are_refused(contents: dict[str, str]) -> None:
    assert "fewer than two" in refusal(lambda: other_image(contents, 0))


def test_a_split_whose_pictures_are_another_s_is_refused() -> None:
    assert "val has fewer than two" in refusal(
        lambda: other_image({"train/0": "a", "train/1": "b", "val/0": "a", "val/1": "b"}, 0)
    )


def test_shuffled_gives_the_store_s_vectors_to_other_images(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", 6)
    run(data, Counting(), tmp_path / "store")
    store = EmbeddingStore(tmp_path / "store")
    shuffled = Shuffled(str(store.path), find_images(data), data, False)
    run(data, shuffled, tmp_path / "other")
    before, after = store.read(range(6)), EmbeddingStore(tmp_path / "other").read(range(6))
    assert (before != after).any(axis=1).all()
    np.testing.assert_array_equal(np.unique(before, axis=0), np.unique(after, axis=0))
    assert shuffled.encoder.settings["of"]["name"] == "counting" and shuffled.encoder.width == 3


def test_shards_of_a_shuffle_are_parts_of_one(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", 7)
    run(data, Counting(), tmp_path / "store")
    for index, count in ((1, 1), (1, 2), (2, 2)):
        out = tmp_path / f"{index}of{count}"
        run(data, Shuffled(str(tmp_path / "store"), find_images(data), data, False, 5), out, index, count)
    whole = EmbeddingStore(tmp_path / "1of1").read(range(7))
    np.testing.assert_array_equal(EmbeddingStore(tmp_path / "1of2").read(range(4)), whole[0::2])
    np.testing.assert_array_equal(EmbeddingStore(tmp_path / "2of2").read(range(3)), whole[1::2])


def test_a_store_that_lacks_an_image_cannot_be_shuffled(tmp_path: Path) -> None:
    run(write_images(tmp_path / "few", 3), Counting(), tmp_path / "store")
    data = write_images(tmp_path / "data", 4)
    message = refusal(lambda: Shuffled(str(tmp_path / "store"), find_images(data), data, False))
    assert "1 of 4 images" in message and "a03" in message


def test_shuffled_refuses_an_unreadable_image_unless_skipped(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", 4)
    run(data, Counting(), tmp_path / "store")
    store, files = str(tmp_path / "store"), find_images(data)
    (data / "a02.png").write_bytes(b"no picture")
    assert "a02.png" in refusal(lambda: Shuffled(store, files, data, False))
    assert run(data, Shuffled(store, files, data, True), tmp_path / "o", skip_bad=True).images == 3


def test_images_are_loaded_in_order_whatever_is_wrong_with_some(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", 40)
    (data / "a20.png").write_bytes(b"no picture")
    loaded = dict(load_images(find_images(data).items()))
    assert list(loaded) == [f"a{i:02d}" for i in range(40)]
    assert [key for key, image in loaded.items() if not isinstance(image, LoadedImage)] == ["a20"]


def test_a_stopped_control_leaves_nothing(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", 3)
    run(data, Counting(), tmp_path / "store")
    files = find_images(data)

    def stop() -> None:
        raise KeyboardInterrupt

    shuffled = Shuffled(str(tmp_path / "store"), files, data, False)
    for encoding in (Random(0), Constant(0), shuffled):
        with pytest.raises(KeyboardInterrupt):
            extract(files, encoding, tmp_path / "out", shard_of(files, 1, 1), check=stop)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "store"]
