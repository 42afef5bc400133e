"""What has an image's name but is no file, or claims to be huge, is refused at once wherever images are read."""

import contextlib
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from made_data import make_data, save
from refusals import refusal

from flowseg.data.check.survey import read_survey
from flowseg.data.folders import find_pairs
from flowseg.data.image_files import decode
from flowseg.data.inputs import frames_and_size, read_inputs
from flowseg.datasets.pixels import read_mask, read_pixels
from flowseg.datasets.source import SourceFile, open_source
from flowseg.embeddings.images import find_images

SHAPE = (24, 20)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with contextlib.chdir(path.parent):  # a socket's path may have 107 bytes
        socket.socket(socket.AF_UNIX).bind(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [fifo, bound_socket, device, broken_link])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    data = make_data(tmp_path / "data", SHAPE, {"train": 2})
    image = data / "train" / "image" / "0.png"
    dicom, bare = tmp_path / "a.dcm", tmp_path / "bare"
    image.unlink()
    for path in (image, dicom, bare):
        make(path)

    def download() -> None:
        with open_source(data):
            pass

    reads = {
        image: [lambda: decode(image), lambda: read_inputs([image]), lambda: read_inputs([image.parent]), download],
        dicom: [lambda: read_inputs([dicom]), lambda: frames_and_size(dicom)],
        bare: [lambda: read_inputs([bare]), lambda: frames_and_size(bare)],
    }
    reads[image] += [lambda: find_pairs(data, "train"), lambda: find_images(data)]
    for path, calls in reads.items():
        for call in calls:
            message = refusal(call)
            said = ("a FIFO, a device or a socket", "no such file", "is a link")  # data sets to import hold no links
            assert f"{path}: " in message and any(part in message for part in said)
    assert "an image is a file" in str(read_survey(data).problems[0])


def test_an_archive_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.zip")
    for source in (tmp_path, tmp_path / "set.zip"):
        with pytest.raises(Exception, match=r"set\.zip: is a FIFO"), open_source(source):
            pass


def huge_png(path: Path, side: int) -> Path:
    """A valid PNG of zeros: one byte a thousand pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    signature = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [8193, 13300])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # pytest resets the filter of folders.py
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    """13300x13300 is just below what Pillow refuses."""
    path = huge_png(tmp_path / "a.png", side)
    content = path.read_bytes()
    file = SourceFile(path, "a.png", 0, lambda: path.open("rb"))
    reads: list[Callable[[], object]] = [
        lambda: decode(path),
        lambda: decode(path, content),
        lambda: frames_and_size(path),
        lambda: read_pixels(file),
        lambda: read_mask(file),
    ]
    for read in reads:
        message = refusal(read)
        assert message.startswith(f"{path}: has {side}x{side} pixels, more than 67,108,864")
        assert "FLOWSEG_MAX_PIXELS" in message


def test_pillows_own_limit_has_the_same_remedy(tmp_path: Path) -> None:
    path = huge_png(tmp_path / "a.png", 13400)
    assert "has over 178,956,970 pixels" in (message := refusal(lambda: decode(path)))
    assert "FLOWSEG_MAX_PIXELS" in message


def test_the_limit_holds_for_dicom_and_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(480, dtype=np.uint8).reshape(SHAPE)
    save(tmp_path / "a.png", pixels)
    paths = [tmp_path / "a.png", write_dicom(tmp_path / "a.dcm", pixels)]
    monkeypatch.setenv("FLOWSEG_MAX_PIXELS", "479")
    for path in paths:
        for read in (lambda: read_inputs([path]), lambda: frames_and_size(path)):  # noqa: B023
            assert f"{path}: has 20x24 pixels, more than 479" in refusal(read)
    monkeypatch.setenv("FLOWSEG_MAX_PIXELS", "480")
    for path in paths:
        assert read_inputs([path])[0].image.shape == SHAPE
    monkeypatch.setenv("FLOWSEG_MAX_PIXELS", "many")
    assert "FLOWSEG_MAX_PIXELS = many: is not a whole number" in refusal(lambda: read_inputs(paths[:1]))


def test_a_dicom_file_that_claims_billions_of_frames_is_refused_at_once(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.arange(480, dtype=np.uint8).reshape(SHAPE), NumberOfFrames=2**31 - 1)
    assert f"{path}: cannot be read as DICOM" in refusal(lambda: read_inputs([path]))
