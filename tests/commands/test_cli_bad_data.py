"""The command refuses data that it cannot train on with one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import BASELINE, SMALL, first, write
from PIL import Image


def test_no_such_data_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("train", BASELINE, "--data.root", tmp_path / "nowhere", *SMALL)
    assert f"{tmp_path}/nowhere: no such folder; give" in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_no_such_split(train_on: Callable[..., str], data: Path, split: str) -> None:
    shutil.rmtree(data / split)
    assert f"{data}/{split}: no such folder; expected" in train_on()


@pytest.mark.parametrize("kind", ["image", "label"])
def test_no_such_subfolder(train_on: Callable[..., str], data: Path, kind: str) -> None:
    shutil.rmtree(data / "train" / kind)
    message = train_on()
    assert f"{data}/train: has no folder {kind}" in message and "expected" in message


def test_empty_image_folder(train_on: Callable[..., str], data: Path) -> None:
    for path in (data / "val" / "image").iterdir():
        path.unlink()
    assert f"{data}/val/image: is empty; put images" in train_on()


def test_image_without_label(train_on: Callable[..., str], data: Path) -> None:
    first(data, "label").unlink()
    message = train_on()
    assert str(first(data, "image")) in message and "no label" in message and "add it or remove" in message


def test_label_without_image(train_on: Callable[..., str], data: Path) -> None:
    first(data, "image").unlink()
    message = train_on()
    assert str(first(data, "label")) in message and "no image" in message and "add it or remove" in message


def test_label_of_another_size(train_on: Callable[..., str], data: Path) -> None:
    write(first(data, "label"), np.zeros((64, 48), np.uint8))
    message = train_on()
    assert f"{first(data, 'label')}: is 48x64 but its image is 64x64" in message


def test_label_with_three_values(train_on: Callable[..., str], data: Path) -> None:
    label = np.zeros((64, 64), np.uint8)
    label[0, :2] = 128, 255
    write(first(data, "label", "test"), label)
    message = train_on()
    assert str(first(data, "label", "test")) in message and "3 values (0, 128, 255); threshold it" in message


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_image(train_on: Callable[..., str], data: Path, content: bytes) -> None:
    first(data, "image").write_bytes(content)
    message = train_on()
    assert str(first(data, "image")) in message and "replace or remove it" in message


def test_truncated_image(train_on: Callable[..., str], data: Path) -> None:
    path = first(data, "image")
    path.write_bytes(path.read_bytes()[:400])
    assert str(path) in train_on()


def test_constant_image(train_on: Callable[..., str], data: Path) -> None:
    write(first(data, "image"), np.full((64, 64), 7, np.uint8))
    message = train_on()
    assert f"{first(data, 'image')}: every pixel has the value 7" in message and "remove it" in message


def test_crop_larger_than_the_images(train_on: Callable[..., str]) -> None:
    message = train_on("--data.crop", 136)
    assert "data.crop = 136: train/0000 is only 64x64 pixels; choose --data.crop 64 or less" in message


def test_a_small_image_among_large_ones(train_on: Callable[..., str], data: Path) -> None:
    path = max((data / "train" / "image").iterdir())
    for file in (path, data / "train" / "label" / path.name):
        with Image.open(file) as image:
            image.crop((0, 0, 40, 14)).save(file)
    message = train_on()
    assert f"data.crop = 32: train/{path.stem} is only 40x14 pixels; leave the image out" in message
