"""Reading a data set: names, formats, bit depths, and the content hash of an image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from flowseg.data.folders import find_pairs, list_images
from flowseg.data.image_files import as_uint8, content_hash, read_image, read_label, scaled

GREY = np.random.default_rng(0).integers(3, 250, (20, 28)).astype(np.uint8)
DEEP = np.random.default_rng(1).integers(1000, 3000, (20, 28)).astype(np.uint16)
LABEL = np.where(np.random.default_rng(2).random((20, 28)) > 0.8, 255, 0).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def deep_pgm(path: Path, pixels: np.ndarray) -> Path:
    """Writes a 16-bit pgm, which Pillow cannot."""
    height, width = pixels.shape
    path.write_bytes(f"P5\n{width} {height}\n65535\n".encode() + pixels.astype(">u2").tobytes())
    return path


@pytest.mark.parametrize("image_folder", ["image", "images"])
@pytest.mark.parametrize("label_folder", ["label", "labels", "mask", "masks"])
def test_folders_go_by_several_names(tmp_path: Path, image_folder: str, label_folder: str) -> None:
    for stem in ("b", "a"):
        save(tmp_path / "val" / image_folder / f"{stem}.png", GREY)
        save(tmp_path / "val" / label_folder / f"{stem}.png", LABEL)
    pairs = find_pairs(tmp_path, "val")
    assert [pair.key for pair in pairs] == ["val/a", "val/b"]
    assert pairs[0].image == tmp_path / "val" / image_folder / "a.png"
    assert pairs[0].label == tmp_path / "val" / label_folder / "a.png"


def test_two_folders_of_one_kind_are_refused(tmp_path: Path) -> None:
    for folder in ("image", "label", "masks"):
        save(tmp_path / "val" / folder / "a.png", LABEL)
    message = refusal(lambda: find_pairs(tmp_path, "val"))
    assert "has both label and masks" in message and str(tmp_path / "val") in message


def test_a_mask_beside_manual_labels_is_not_taken_for_them(tmp_path: Path) -> None:
    for folder in ("images", "mask", "1st_manual"):
        save(tmp_path / "val" / folder / "a.png", LABEL)
    message = refusal(lambda: find_pairs(tmp_path, "val"))
    assert "is not taken as the labels beside 1st_manual" in message and "rename" in message
    assert "rename 1st_manual to label, and mask to fov if it is one or take it away" in message


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a.tif", GREY)
    message = refusal(lambda: list_images(tmp_path))
    assert "a.tif" in message and "a.png" in message


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "c.TIFF"):
        save(tmp_path / name, GREY)
    for name in (".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    assert list(list_images(tmp_path)) == ["a", "b", "c"]


def test_image_and_label_may_have_different_formats(tmp_path: Path) -> None:
    save(tmp_path / "val" / "image" / "a.jpg", GREY)
    save(tmp_path / "val" / "label" / "a.bmp", LABEL)
    pair = find_pairs(tmp_path, "val")[0]
    assert read_image(pair.image)[0].shape == read_label(pair.label).shape == (20, 28)


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "pgm", "bmp"])
def test_pixels_come_through_every_format(tmp_path: Path, suffix: str) -> None:
    image, _ = read_image(save(tmp_path / f"a.{suffix}", GREY))
    expected = 2 * (GREY - 3.0) / (GREY.max() - 3.0) - 1
    assert image.dtype == np.float32
    assert image.min() == -1 and image.max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    np.testing.assert_array_equal(read_label(save(tmp_path / f"b.{suffix}", LABEL)), LABEL > 0)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_images_are_read(tmp_path: Path, suffix: str) -> None:
    smooth = np.add.outer(np.arange(32), 3 * np.arange(40)).astype(np.uint8)
    image, _ = read_image(save(tmp_path / f"a.{suffix}", smooth))
    assert np.abs(as_uint8(image) - smooth * (255.0 / smooth.max())).max() < 8


def test_colour_is_its_luminance(tmp_path: Path) -> None:
    colour = np.random.default_rng(3).integers(0, 256, (20, 28, 3)).astype(np.uint8)
    luminance = np.round(colour @ [0.299, 0.587, 0.114])
    image, _ = read_image(save(tmp_path / "a.png", colour))
    expected = 2 * (luminance - luminance.min()) / np.ptp(luminance) - 1
    np.testing.assert_allclose(image, expected, atol=2.1 / np.ptp(luminance))


def test_grey_stored_as_colour_is_the_same_image(tmp_path: Path) -> None:
    grey = read_image(save(tmp_path / "grey.png", GREY))
    opaque = np.full_like(GREY, 255)
    for name, layers in (("rgb.png", [GREY] * 3), ("rgba.png", [GREY] * 3 + [opaque]), ("la.png", [GREY, opaque])):
        image, content = read_image(save(tmp_path / name, np.stack(layers, axis=-1)))
        np.testing.assert_array_equal(image, grey[0])
        assert content == grey[1]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_keep_their_depth(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    image, _ = read_image(deep_pgm(path, DEEP) if suffix == "pgm" else save(path, DEEP))
    low, high = float(DEEP.min()), float(DEEP.max())
    np.testing.assert_allclose(image, 2 * (DEEP - low) / (high - low) - 1, atol=1e-6)
    assert len(np.unique(image)) > 256
    assert np.diff(np.unique(image)).min() < 0.5 * 2 / 255


def test_float_images_keep_their_depth(tmp_path: Path) -> None:
    values = np.random.default_rng(4).random((20, 28)).astype(np.float32)
    image, _ = read_image(save(tmp_path / "a.tif", values))
    np.testing.assert_allclose(image, 2 * (values - values.min()) / np.ptp(values) - 1, atol=1e-6)
    values[3, 3] = np.nan
    assert "not finite" in refusal(lambda: read_image(save(tmp_path / "b.tif", values)))


def test_scaling_spans_minus_one_to_one_whatever_the_range(tmp_path: Path) -> None:
    faint = (100 + GREY % 3).astype(np.uint8)
    image, _ = read_image(save(tmp_path / "a.png", faint))
    np.testing.assert_array_equal(np.unique(image), [-1, 0, 1])


def test_content_is_independent_of_name_and_format(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "elsewhere" / "b.png"]
    files += [tmp_path / f"c.{suffix}" for suffix in ("tif", "pgm", "bmp")]
    assert {read_image(save(path, GREY))[1] for path in files} == {content_hash(GREY)}


def test_content_of_16_bits_is_independent_of_format(tmp_path: Path) -> None:
    files = [save(tmp_path / "a.png", DEEP), save(tmp_path / "b.tif", DEEP), deep_pgm(tmp_path / "c.pgm", DEEP)]
    assert {read_image(path)[1] for path in files} == {content_hash(DEEP)}


def test_content_tells_pixels_shapes_and_depths_apart() -> None:
    changed = GREY.copy()
    changed[5, 5] ^= 1
    variants = [GREY, changed, GREY.reshape(28, 20), GREY.T, GREY[:, ::-1], GREY.astype(np.uint16)]
    hashes = [content_hash(variant) for variant in variants]
    assert len(set(hashes)) == len(variants)
    assert all(len(bytes.fromhex(h)) == 16 for h in hashes)


@pytest.mark.parametrize("vessel", [1, 127, 255])
def test_a_label_is_zero_and_one_other_value(tmp_path: Path, vessel: int) -> None:
    label = read_label(save(tmp_path / "a.png", (LABEL > 0) * np.uint8(vessel)))
    assert label.dtype == bool
    np.testing.assert_array_equal(label, LABEL > 0)


@pytest.mark.parametrize("kind", ["bilevel", "palette", "rgb", "deep"])
def test_labels_in_other_modes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "bilevel":
        Image.fromarray(LABEL > 0).save(path)
    elif kind == "palette":
        picture = Image.fromarray((LABEL > 0).astype(np.uint8), mode="P")
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.save(path)
    elif kind == "rgb":
        save(path, np.stack([LABEL] * 3, axis=-1))
    else:
        save(path, LABEL.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_label(path), LABEL > 0)


@pytest.mark.parametrize("value", [0, 255])
def test_a_label_may_be_empty_or_full(tmp_path: Path, value: int) -> None:
    label = read_label(save(tmp_path / "a.png", np.full((8, 8), value, np.uint8)))
    assert label.all() == (value > 0) and label.any() == (value > 0)


@pytest.mark.parametrize("values", [(0, 1, 2), (1, 255), (0, 254, 255)])
def test_other_labels_are_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    label = np.full((8, 8), values[0], np.uint8)
    label[0, : len(values)] = values
    path = save(tmp_path / "a.png", label)
    message = refusal(lambda: read_label(path))
    assert str(path) in message and f"({', '.join(map(str, values))})" in message


def test_transparency_and_frames_are_refused(tmp_path: Path) -> None:
    see_through = np.stack([GREY, GREY, GREY, np.full_like(GREY, 254)], axis=-1)
    assert "transparent" in refusal(lambda: read_image(save(tmp_path / "a.png", see_through)))
    frames = [Image.fromarray(GREY), Image.fromarray(LABEL)]
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    assert "2 frames" in refusal(lambda: read_image(tmp_path / "b.tif"))


def test_8_bits_survive_the_way_to_float_and_back(tmp_path: Path) -> None:
    full = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(as_uint8(read_image(save(tmp_path / "a.png", full))[0]), full)


@pytest.mark.parametrize(
    "values", [(-3e38, 3e38), (0, 1e-45), (0, np.inf), (0, np.nan), (0, 1e300), (-np.inf, -np.inf)]
)
def test_values_that_float32_cannot_scale_are_refused_by_name(values: tuple[float, float]) -> None:
    grey = np.resize(np.array(values), (8, 8))
    assert "a.tif: " in refusal(lambda: scaled(grey, "a.tif")) and "cannot be scaled to [-1, 1]" in refusal(
        lambda: scaled(grey, "a.tif")
    )


@pytest.mark.parametrize("values", [(-1e38, 1e38), (0, 1e-37), (-(2**31), 2**31 - 1), (0, 1)])
def test_values_that_float32_can_scale_reach_from_one_end_to_the_other(values: tuple[float, float]) -> None:
    image = scaled(np.resize(np.array(values), (8, 8)), "a.tif")
    assert image.dtype == np.float32 and (image.min(), image.max()) == (-1, 1)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a\udcff.png", GREY)
    assert f"{tmp_path}: the file name 'a\\udcff.png' is not UTF-8" in refusal(lambda: list_images(tmp_path))
