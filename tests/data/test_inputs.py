"""Images to segment, from files, folders and series: their names, hashes and orientation."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image, TiffImagePlugin
from refusals import refusal

from flowseg.data.image_files import check_size, decode, read_fov, read_image, read_label
from flowseg.data.inputs import read_inputs

RNG = np.random.default_rng(0)
GREY = RNG.integers(3, 250, (10, 14)).astype(np.uint8)
SERIES = RNG.integers(0, 2**12, (12, 10, 14)).astype(np.uint16)
EXIF_ORIENTATION = 0x0112


def save(path: Path, pixels: np.ndarray = GREY, orientation: int | None = None) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "pgm", "bmp", "PNG"])
def test_a_file_is_what_training_reads(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY).save(path)
    (item,) = read_inputs([path])
    image, content = read_image(path)
    np.testing.assert_array_equal(item.image, image)
    assert (item.content, item.name, item.frame, item.path, item.orientation) == (content, "a", None, path, 1)


def test_frames_are_images_of_their_own(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "run.dcm", SERIES, 12)
    items = read_inputs([path])
    assert [item.name for item in items] == [f"run_frame{k:03d}" for k in range(1, 13)]
    assert [item.frame for item in items] == list(range(1, 13))
    for item, frame in zip(items, SERIES, strict=True):
        alone = save(tmp_path / f"{item.name}.png", frame)
        image, content = read_image(alone)
        np.testing.assert_array_equal(item.image, image)
        assert item.content == content
    assert [item.name for item in read_inputs([path], [3, 11])] == ["run_frame003", "run_frame011"]


def test_a_file_of_one_frame_goes_without_a_number(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "one.dcm", SERIES[:1], 12)
    (item,) = read_inputs([path], [1])
    assert (item.name, item.frame) == ("one", None)


def test_numbers_of_long_series_are_as_wide_as_their_last(tmp_path: Path) -> None:
    series = np.tile(np.arange(4, dtype=np.uint8), (1000, 1, 1))
    path = write_dicom(tmp_path / "long.dcm", series)
    assert [item.name for item in read_inputs([path], [7, 1000])] == ["long_frame0007", "long_frame1000"]


def test_a_folder_stands_for_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    save(folder / "b.png")
    write_dicom(folder / "1.2.840", SERIES[:1], 12)
    write_dicom(folder / "DICOMDIR", SERIES[:1], 12)  # the index of a medium
    save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "more").mkdir()
    other = save(tmp_path / "a.png")
    assert [item.name for item in read_inputs([folder, other])] == ["1.2.840", "b", "a"]


def test_pixels_lie_as_they_are_stored(tmp_path: Path) -> None:
    """An EXIF orientation is reported, not applied."""
    smooth = np.add.outer(np.arange(32), 3 * np.arange(40)).astype(np.uint8)
    for name in ("a.jpg", "b.png"):
        plain, turned = save(tmp_path / f"plain-{name}", smooth), save(tmp_path / name, smooth, orientation=6)
        upright, lying = read_inputs([plain, turned])
        np.testing.assert_array_equal(lying.image, upright.image)
        assert (upright.orientation, lying.orientation) == (1, 6)


@pytest.mark.parametrize("orientation", [2, 6])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_that_is_to_be_turned_is_refused(tmp_path: Path, orientation: int, compression: str | None) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[EXIF_ORIENTATION] = orientation
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, tiffinfo=tags, compression=compression)
    for read in (lambda: read_inputs([path]), *(partial(read, path) for read in (read_image, read_label, read_fov))):
        assert f"{path}: has the orientation tag {orientation}" in refusal(read)


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_orientation_that_turns_nothing_is_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(GREY).save(path, tiffinfo={EXIF_ORIENTATION: orientation})
    np.testing.assert_array_equal(decode(path), GREY)
    assert read_inputs([save(tmp_path / "b.png", orientation=orientation)])[0].orientation == 1


def test_a_mask_of_the_turned_size_is_told_why() -> None:
    for size, told in (((14, 10), True), ((14, 11), False)):
        message = refusal(lambda size=size: check_size(Path("a.png"), GREY > 9, size, "a label"))
        assert ("an EXIF orientation is not applied" in message) == told


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for first, second in (
        (save(tmp_path / "a.png"), save(tmp_path / "a.tif")),
        (write_dicom(tmp_path / "b.dcm", SERIES, 12), save(tmp_path / "b_frame003.png")),
    ):
        message = refusal(lambda pair=(first, second): read_inputs(pair))  # type: ignore[misc]
        assert str(first) in message and message.startswith(str(second)) and "different --out folders" in message
    assert "different --out folders" in refusal(lambda: read_inputs([first, first]))


def test_a_frame_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    picture, series = save(tmp_path / "a.png"), write_dicom(tmp_path / "b.dcm", SERIES, 12)
    assert f"{picture}: has no frame 2, it has one frame" in refusal(lambda: read_inputs([picture], [1, 2]))
    assert f"{series}: has no frame 13, it has frames 1 to 12" in refusal(lambda: read_inputs([series], [1, 13]))


def test_a_flat_frame_is_refused_by_its_number(tmp_path: Path) -> None:
    series = SERIES.copy()
    series[3] = 0
    path = write_dicom(tmp_path / "b.dcm", series, 12)
    assert f"{path} frame 4: every pixel has the value 0" in refusal(lambda: read_inputs([path]))
    assert len(read_inputs([path], [1, 2, 3, 5])) == 4


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    assert "cannot be read as an image" in refusal(lambda: read_inputs([tmp_path / "a.png"]))
    assert "no such file" in refusal(lambda: read_inputs([tmp_path / "gone.png"]))
    assert f"{tmp_path / 'empty'}: holds no images" in refusal(lambda: read_inputs([tmp_path / "empty"]))
