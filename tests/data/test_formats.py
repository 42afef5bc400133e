"""Which files are taken for images: by their content, and only of the formats that flowseg names."""

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from flowseg.data.folders import list_images
from flowseg.data.image_files import KINDS, decode
from flowseg.data.inputs import read_inputs

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 24 20
%%EndComments
newpath 0 0 moveto 24 20 lineto stroke
showpage
%%EOF
"""


def test_an_eps_file_called_png_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    for function in ("Popen", "check_call", "call", "run"):
        monkeypatch.setattr(subprocess, function, lambda *args, **more: started.append(args))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")  # as if Ghostscript were there
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    for read in (lambda: decode(path), lambda: decode(path, EPS), lambda: read_inputs([path])):
        assert f"{path}: cannot be read as an image (it is none of PNG, JPEG" in refusal(read)
    assert started == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_found_by_its_suffix_and_read(tmp_path: Path, kind: str) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    path = tmp_path / f"a.{kind.upper()}"
    Image.fromarray(grey).save(path)
    assert list_images(tmp_path) == {"a": path}
    np.testing.assert_allclose(decode(path), grey, atol=8 if KINDS[kind] == "JPEG" else 0)


def with_white_as_zero(path: Path, pixels: np.ndarray) -> Path:
    """Writes a TIFF file of pixels in which 0 is white (photometric interpretation 0)."""
    Image.fromarray(pixels).save(path)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, entry) == (262,):
            struct.pack_into("<H", content, entry + 8, 0)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_is_zero_whatever_a_tiff_file_calls_zero(tmp_path: Path, dtype: type[np.unsignedinteger]) -> None:
    grey = np.arange(64, dtype=dtype).reshape(8, 8)
    read = decode(with_white_as_zero(tmp_path / "a.tif", grey))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, np.iinfo(dtype).max - grey)


def test_floating_point_numbers_of_which_zero_is_white_are_refused(tmp_path: Path) -> None:
    path = with_white_as_zero(tmp_path / "a.tif", np.arange(64, dtype=np.float32).reshape(8, 8))
    assert f"{path}: has floating-point numbers of which 0 is white" in refusal(lambda: decode(path))


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_colour_of_16_bits_is_refused_and_not_cut_to_8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    for dtype in (np.uint8, np.uint16):
        assert cv2.imwrite(str(path), np.full((8, 8, 3), 200, dtype))
        if dtype == np.uint8:
            assert decode(path).dtype == np.uint8
    assert f"{path}: has 16 bits per colour channel" in refusal(lambda: decode(path))


def test_whatever_a_decoder_raises_is_a_refusal(tmp_path: Path) -> None:
    """A TIFF file with a second image that has no size: Pillow has a TypeError for that."""
    path = tmp_path / "a.tif"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * entries, len(content))
    path.write_bytes(content + bytes(6))
    assert f"{path}: cannot be read as an image (Missing dimensions)" in refusal(lambda: decode(path))


def test_a_damaged_file_is_one_line_without_pillow_s_warnings(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 100))  # its directory is beyond its end
    code = f"from pathlib import Path; from flowseg.data.image_files import decode; decode(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "cannot be read as an image" in done.stderr
    assert "Warning" not in done.stderr, done.stderr


def test_libtiff_prints_nothing_beside_the_refusal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    Image.new("1", (8, 8), 1).save(path, compression="group4")
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, entry) == (273,):  # StripOffsets
            struct.pack_into("<H", content, entry + 2, 2)  # text in place of a number
    path.write_bytes(content)
    assert "cannot be read as an image" in refusal(lambda: decode(path))
    assert capfd.readouterr().err == ""
