"""Which channel of colour images the network sees: in training, in prediction, and with arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_data import angiogram, save
from refusals import refusal

from flowseg.config import Channel, DataConfig
from flowseg.data.arrays import grey_values
from flowseg.data.dataset import Dataset
from flowseg.data.image_files import as_uint8, content_hash, decode, read_image, read_stored
from flowseg.data.inputs import read_inputs

CHANNELS: tuple[Channel, ...] = ("red", "green", "blue")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of one colour image, whose channels are images of their own, and one grey image."""
    root = tmp_path_factory.mktemp("colour")
    channels = [angiogram(seed)[0] for seed in range(3)]
    for name, pixels in (("colour", np.stack(channels, axis=2)), ("grey", channels[0])):
        save(root / "train" / "image" / f"{name}.png", pixels)
        save(root / "train" / "label" / f"{name}.png", angiogram(0)[1])
    return root


def stretched(grey: np.ndarray) -> np.ndarray:
    """Grey values over the whole range of a byte."""
    low, high = int(grey.min()), int(grey.max())
    return np.round((grey.astype(float) - low) * 255 / (high - low)).astype(int)


@pytest.mark.parametrize(("index", "channel"), enumerate(CHANNELS))
def test_every_way_to_an_image_gives_the_channel(root: Path, index: int, channel: Channel) -> None:
    """And a hash that does not depend on it, by which embeddings are found."""
    file = root / "train" / "image" / "colour.png"
    expected = angiogram(index)[0]
    stored, plain = read_stored(file), decode(file)
    np.testing.assert_array_equal(stored.channel(channel), expected)
    np.testing.assert_array_equal(stored.luminance, plain)
    dataset = Dataset(root, "train", DataConfig(crop=16, channel=channel))
    (item,) = read_inputs([file], channel=channel)
    for image, content in (
        read_image(file, channel),
        (item.image, item.content),
        (dataset[0].image, dataset[0].content),
    ):
        assert np.abs(as_uint8(image).astype(int) - stretched(expected)).max() <= 1
        assert content == content_hash(plain)
    np.testing.assert_array_equal(item.luminance, read_image(file)[0])
    rgb = np.stack([angiogram(seed)[0] for seed in range(3)], axis=2)
    for array in (rgb, rgb.astype(np.uint16) * 257, rgb / 7):
        np.testing.assert_array_equal(
            grey_values(array, "it", channel), array[..., index].astype(grey_values(array, "it").dtype)
        )


@pytest.mark.parametrize("channel", CHANNELS)
def test_grey_images_are_not_affected(root: Path, channel: Channel) -> None:
    file = root / "train" / "image" / "grey.png"
    stored, plain = read_stored(file), decode(file)
    assert stored.channel(channel) is stored.luminance
    (item,) = read_inputs([file], channel=channel)
    assert item.image is item.luminance
    np.testing.assert_array_equal(grey_values(plain, "it", channel), plain)


def test_the_digest_of_the_data_knows_the_channel(root: Path) -> None:
    digests = set()
    for channel in ("luminance", *CHANNELS):
        dataset = Dataset(root, "train", replace(DataConfig(crop=16), channel=channel))  # type: ignore[arg-type]
        dataset.load()
        digests.add(dataset.digest())
    assert len(digests) == 4


def test_a_channel_without_contrast_is_named(tmp_path: Path) -> None:
    pixels = np.stack([angiogram(0)[0]] * 3, axis=2)
    pixels[..., 2] = 7
    save(tmp_path / "flat.png", pixels)
    told = f"{tmp_path / 'flat.png'} (blue channel): every pixel has the value 7"
    for read in (
        lambda: read_image(tmp_path / "flat.png", "blue"),
        lambda: read_inputs([tmp_path / "flat.png"], channel="blue"),
    ):
        assert told in refusal(read)
