"""Images keep their values on the way from any format to the array that is written."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from downloads import mask_of, noise, put
from PIL import Image
from refusals import refusal

from flowseg.data.image_files import decode
from flowseg.datasets.pixels import Values, read_mask, read_pixels
from flowseg.datasets.source import SourceFile, open_source

GREY, COLOUR = noise(0), noise(1, 3)
DEEP = np.random.default_rng(2).integers(0, 2**16, (20, 24)).astype(np.uint16)


def source_file(path: Path) -> SourceFile:
    with open_source(path.parent) as files:
        return next(file for file in files if file.path == path)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm"])
def test_grey_and_colour_come_through_every_format(tmp_path: Path, suffix: str) -> None:
    for name, array in (("grey", GREY), ("colour", COLOUR)):
        read = read_pixels(source_file(put(tmp_path / f"{name}.{suffix}", array))).pixels
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_stay_16_bits(tmp_path: Path, suffix: str) -> None:
    read = read_pixels(source_file(put(tmp_path / f"a.{suffix}", DEEP))).pixels
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, DEEP)


def test_palettes_bits_and_opaque_layers_are_their_colours(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).quantize(64).save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as file:
        expected = np.asarray(file.convert("RGB"))
    np.testing.assert_array_equal(read_pixels(source_file(tmp_path / "palette.png")).pixels, expected)
    Image.fromarray(GREY).save(tmp_path / "grey.gif")
    np.testing.assert_array_equal(read_pixels(source_file(tmp_path / "grey.gif")).pixels, GREY)
    Image.fromarray(mask_of(1)).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_pixels(source_file(tmp_path / "bits.png")).pixels, mask_of(1) * np.uint8(255))
    put(tmp_path / "opaque.png", np.dstack([COLOUR, np.full_like(GREY, 255)]))
    np.testing.assert_array_equal(read_pixels(source_file(tmp_path / "opaque.png")).pixels, COLOUR)


@pytest.mark.parametrize("highest", [1, 100, 254, 255, 256, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm_values_are_those_in_the_file_whatever_it_calls_the_highest(
    tmp_path: Path, highest: int, plain: bool
) -> None:
    values = np.random.default_rng(3).integers(0, highest + 1, (20, 24))
    values[0, :2] = 0, highest
    head = f"{'P2' if plain else 'P5'}\n24 20\n{highest}\n".encode()
    body = " ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2" if highest > 255 else "u1")
    (tmp_path / "a.pgm").write_bytes(head + bytes(body))
    for read in (read_pixels(source_file(tmp_path / "a.pgm")).pixels, decode(tmp_path / "a.pgm")):
        assert read.dtype == (np.uint16 if highest > 255 else np.uint8)
        np.testing.assert_array_equal(read, values)


def deep_colour(path: Path) -> Path:
    cv2.imwrite(str(path), np.stack([DEEP] * 3, axis=-1))
    return path


def cmyk(path: Path) -> Path:
    Image.fromarray(COLOUR).convert("CMYK").save(path)
    return path


def sideways(path: Path) -> Path:
    Image.fromarray(GREY).save(path, tiffinfo={274: 6})
    return path


def deep_ppm(path: Path) -> Path:
    path.write_bytes(b"P6\n24 20\n65535\n" + np.stack([DEEP] * 3, axis=-1).astype(">u2").tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.png", deep_colour, "16 bits per colour channel"),
        ("a.tif", deep_colour, "16 bits per colour channel"),
        ("a.ppm", deep_ppm, "16 bits per colour channel"),
        ("a.jpg", cmyk, "(mode CMYK) are neither grey nor RGB"),
        ("a.tif", lambda path: put(path, noise(1).astype(np.float32)), "(mode F) are neither grey nor RGB"),
        ("a.png", lambda path: put(path, np.dstack([COLOUR, GREY])), "transparent"),
        ("a.tif", sideways, "orientation tag"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, name: str, make: object, said: str) -> None:
    path = make(tmp_path / name)  # type: ignore[operator]
    message = refusal(lambda: read_pixels(source_file(path)))
    assert str(path) in message and said in message


def test_an_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.png", GREY)
    path.write_bytes(path.read_bytes()[:60])  # the header only: decoding it would be another error
    monkeypatch.setenv("FLOWSEG_MAX_PIXELS", str(24 * 20 - 1))
    assert "has 24x20 pixels, more than 479" in refusal(lambda: read_pixels(source_file(path)))


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", GREY)
    header, end = path.read_bytes()[:33], path.read_bytes()[-12:]
    path.write_bytes(header + end)
    assert f"{path}: cannot be read as an image" in refusal(lambda: read_pixels(source_file(path)))


def test_masks_by_value(tmp_path: Path) -> None:
    grey = np.array([[0, 1, 2], [100, 128, 255]], np.uint8)
    file = source_file(put(tmp_path / "a.png", grey))
    np.testing.assert_array_equal(read_mask(file, Values.parse(("255", "1-2"))), [[0, 1, 1], [0, 0, 1]])
    assert "6 values (0, 1, 2, 100, 128, ...); say which of them are vessel" in refusal(lambda: read_mask(file))
