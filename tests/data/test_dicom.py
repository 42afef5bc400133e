"""Reading DICOM frames: which values they have, and which files are refused."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset_of, empty, rescale, write_dicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)
from refusals import refusal

from flowseg.data.dicom import _packages, is_dicom, read_frames
from flowseg.data.image_files import content_hash, decode, scaled
from flowseg.data.inputs import read_inputs
from flowseg.errors import pip_install

RNG = np.random.default_rng(0)
GREY = RNG.integers(3, 250, (10, 14)).astype(np.uint8)
TWELVE = RNG.integers(0, 2**12, (10, 14)).astype(np.uint16)
SERIES = RNG.integers(0, 2**12, (5, 10, 14)).astype(np.uint16)


def only(path: Path) -> np.ndarray:
    count, [(number, grey)] = read_frames(path)
    assert count == number == 1
    return grey


@pytest.mark.parametrize(("pixels", "bits"), [(GREY, None), (TWELVE, 12), (TWELVE * 16, None)])
def test_values_and_hash_are_those_of_a_png_of_the_same_pixels(
    tmp_path: Path, pixels: np.ndarray, bits: int | None
) -> None:
    grey = only(write_dicom(tmp_path / "a.dcm", pixels, bits))
    np.testing.assert_array_equal(grey, pixels)
    assert grey.dtype == pixels.dtype
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert content_hash(grey) == content_hash(decode(tmp_path / "a.png"))


def test_bits_that_are_not_stored_are_ignored(tmp_path: Path) -> None:
    littered = TWELVE | (RNG.integers(0, 16, TWELVE.shape).astype(np.uint16) << 12)
    np.testing.assert_array_equal(only(write_dicom(tmp_path / "a.dcm", littered, 12)), TWELVE)


@pytest.mark.parametrize("wanted", [None, [3], [5, 1, 2]])
def test_frames_come_as_asked_counted_from_one(tmp_path: Path, wanted: list[int] | None) -> None:
    count, frames = read_frames(write_dicom(tmp_path / "a.dcm", SERIES, 12), wanted)
    assert count == 5 and [number for number, _ in frames] == (wanted or [1, 2, 3, 4, 5])
    for number, grey in frames:
        np.testing.assert_array_equal(grey, SERIES[number - 1])
    assert len({content_hash(grey) for _, grey in frames}) == len(frames)


@pytest.mark.parametrize(("pixels", "bits"), [(GREY, None), (TWELVE, 12), (TWELVE.astype(np.int16) - 2048, 12)])
def test_monochrome1_is_inverted(tmp_path: Path, pixels: np.ndarray, bits: int | None) -> None:
    dark = only(write_dicom(tmp_path / "a.dcm", pixels, bits, PhotometricInterpretation="MONOCHROME1"))
    light = only(write_dicom(tmp_path / "b.dcm", pixels, bits))
    np.testing.assert_allclose(scaled(dark, "a"), -scaled(light, "b"), atol=1e-6)
    assert scaled(light, "b").min() == -1 and dark.dtype == light.dtype


def test_the_widest_values_are_inverted_too(tmp_path: Path) -> None:
    pixels = np.array([[-(2**15), 2**15 - 1, 0, 7]], np.int16)
    grey = only(write_dicom(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(grey, -1.0 - pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.25, 3), (-2, 100)])
@pytest.mark.parametrize("place", ["file", "shared", "per frame"])
def test_the_image_is_that_of_the_rescaled_values(
    tmp_path: Path, slope: float, intercept: float, photometric: str, place: str
) -> None:
    dataset = dataset_of(tmp_path / "a.dcm", SERIES[:2], 12, PhotometricInterpretation=photometric)
    if place == "file":
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    elif place == "shared":
        dataset.SharedFunctionalGroupsSequence = [rescale(slope, intercept)]
    else:
        dataset.SharedFunctionalGroupsSequence = [rescale(-slope, 0)]
        dataset.PerFrameFunctionalGroupsSequence = [rescale(-slope, 0), rescale(slope, intercept)]
    dataset.save_as(tmp_path / "a.dcm")
    _, [(_, grey)] = read_frames(tmp_path / "a.dcm", [2])
    meant = SERIES[1].astype(np.float64) * slope + intercept
    expected = scaled(-meant if photometric == "MONOCHROME1" else meant, "a")
    np.testing.assert_allclose(scaled(grey, "a"), expected, atol=1e-5)


def test_a_modality_lut_is_applied_a_window_is_not(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor = [256, 0, 16]
    lut.ModalityLUTType = "US"
    table = (np.arange(256) ** 2).astype(np.uint16)
    lut.add_new("LUTData", "US", table.tolist())
    path = write_dicom(tmp_path / "a.dcm", GREY, ModalityLUTSequence=[lut], WindowCenter=50, WindowWidth=20)
    np.testing.assert_array_equal(only(path), table[GREY])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("pad", "limit"), [(-2000, None), (-2000, -1990), (3000, 2990)])
def test_padding_does_not_count(tmp_path: Path, photometric: str, pad: int, limit: int | None) -> None:
    """It gets the darkest of the other values, which alone decide on the scale."""
    pixels = TWELVE.astype(np.int16) % 1000
    padded = np.arange(pixels.size).reshape(pixels.shape) % 9 == 0
    filled = np.where(padded, np.int16(pad if limit is None else (pad + limit) // 2), pixels)
    how = {"PhotometricInterpretation": photometric, "PixelPaddingValue": pad}
    more = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    found = only(write_dicom(tmp_path / "a.dcm", filled, **how, **more))
    darkest = pixels[~padded].max() if photometric == "MONOCHROME1" else pixels[~padded].min()
    plain = np.where(padded, darkest, pixels)
    np.testing.assert_array_equal(
        found, only(write_dicom(tmp_path / "b.dcm", plain, PhotometricInterpretation=photometric))
    )
    assert scaled(found, "a")[padded].max() == -1
    nothing = only(write_dicom(tmp_path / "c.dcm", np.full_like(pixels, pad), **how, **more))
    assert len(np.unique(nothing)) == 1


def test_an_empty_rescale_slope_is_1(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        only(write_dicom(tmp_path / "a.dcm", TWELVE, 12, RescaleSlope=None, RescaleIntercept=None)), TWELVE
    )


def test_the_page_s_way_to_training_images_gives_what_prediction_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dicom").mkdir()
    write_dicom(tmp_path / "dicom" / "cine.dcm", SERIES, 12)
    write_dicom(tmp_path / "dicom" / "one.dcm", TWELVE.astype(np.int16) - 2048, RescaleSlope=1, RescaleIntercept=-5)
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "datasets.md", "exec"), {})
    written, frames = read_inputs([Path("images")]), read_inputs([Path("dicom")])
    assert [(item.name, item.content) for item in written] == [(item.name, item.content) for item in frames]
    assert len(written) == 6


def test_floats_are_read(tmp_path: Path) -> None:
    values = RNG.random((10, 14)).astype(np.float32)
    dataset = dataset_of(tmp_path / "a.dcm", values.view(np.uint32))
    del dataset.PixelData
    dataset.FloatPixelData = values.tobytes()
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(only(tmp_path / "a.dcm"), values)


def test_big_endian_values_hash_like_others(tmp_path: Path) -> None:
    made = dataset_of(tmp_path / "a.dcm", TWELVE.astype(">u2"), 12)
    dataset = empty(tmp_path / "a.dcm", ExplicitVRBigEndian)
    dataset.update(made)
    dataset.save_as(tmp_path / "a.dcm")
    assert content_hash(only(tmp_path / "a.dcm")) == content_hash(TWELVE)


def test_rle_is_decoded(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "a.dcm", SERIES, 12)
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "a.dcm")
    for number, grey in read_frames(tmp_path / "a.dcm", [2, 5])[1]:
        np.testing.assert_array_equal(grey, SERIES[number - 1])


@pytest.mark.parametrize(
    ("syntax", "kind", "within"), [(JPEG2000Lossless, "JPEG2000", 0), (JPEGBaseline8Bit, "JPEG", 8)]
)
def test_what_pillow_decodes_is_decoded(tmp_path: Path, syntax: str, kind: str, within: int) -> None:
    smooth = np.add.outer(np.arange(32), 3 * np.arange(40)).astype(np.uint8)
    code = io.BytesIO()
    Image.fromarray(smooth).save(code, kind, **({"no_jp2": True} if kind == "JPEG2000" else {"quality": 95}))
    dataset = dataset_of(tmp_path / "a.dcm", smooth)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([code.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm")
    assert np.abs(only(tmp_path / "a.dcm").astype(int) - smooth).max() <= within


def test_dicom_files_are_known_by_name_or_content(tmp_path: Path) -> None:
    plain = write_dicom(tmp_path / "1.2.840", GREY)
    assert is_dicom(plain) and is_dicom(tmp_path / "gone.DCM")
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert not is_dicom(tmp_path / "a.png") and not is_dicom(tmp_path / "gone")


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    empty(tmp_path / "a.dcm").save_as(tmp_path / "a.dcm")
    message = refusal(lambda: read_frames(tmp_path / "a.dcm"))
    assert f"{tmp_path / 'a.dcm'}: is a DICOM file without pixels (X-Ray Angiographic Image Storage)" in message


@pytest.mark.parametrize(("wanted", "named"), [([6], "6"), ([1, 7, 9], "7, 9"), ([0], "0")])
def test_a_frame_that_does_not_exist_is_refused(tmp_path: Path, wanted: list[int], named: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", SERIES, 12)
    assert f"{path}: has no frame {named}, it has frames 1 to 5" in refusal(lambda: read_frames(path, wanted))


def test_colour_is_refused(tmp_path: Path) -> None:
    colour = RNG.integers(0, 255, (10, 14, 3)).astype(np.uint8)
    path = write_dicom(
        tmp_path / "a.dcm",
        GREY,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=colour.tobytes(),
    )
    assert f"{path}: is not grey (photometric interpretation RGB)" in refusal(lambda: read_frames(path))


@pytest.mark.parametrize("damage", ["truncated", "no magic", "text", "slope 0", "not finite", "no syntax"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.dcm"
    dataset = dataset_of(path, SERIES, 12)
    if damage == "slope 0":
        dataset.RescaleSlope, dataset.RescaleIntercept = 0, 5
    if damage == "not finite":
        values = np.full((5, 10, 14), np.nan, np.float32)
        del dataset.PixelData
        dataset.BitsAllocated, dataset.FloatPixelData = 32, values.tobytes()
    dataset.save_as(path)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-400])
    elif damage == "no magic":
        path.write_bytes(content[132:])
    elif damage == "text":
        path.write_text("no picture " * 40)
    elif damage == "no syntax":
        path.write_bytes(content[:132] + content[content.index(b"\x08\x00\x16\x00") :])
    message = refusal(lambda: read_frames(path))
    assert message.startswith(f"{path}: ") and ("DICOM" in message)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(lambda: read_frames(tmp_path / "a.dcm"))


def compressed(path: Path, syntax: str) -> Path:
    dataset = dataset_of(path, GREY)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


def test_a_compression_that_needs_a_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretends that no decoder is installed."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(JPEGLosslessSV1)
    needs = {"gdcm": ("gdcm>=3.0.10",), "pylibjpeg": ("pylibjpeg>=2.0", "pylibjpeg-libjpeg>=2.1")}
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", needs)
    path = compressed(tmp_path / "a.dcm", JPEGLosslessSV1)
    message = refusal(lambda: read_frames(path))
    assert message.startswith(f"{path}: is compressed as JPEG Lossless, Non-Hierarchical, First-Order Prediction")
    assert message.endswith(f"needs another package: {pip_install()} python-gdcm, or pylibjpeg pylibjpeg-libjpeg")


def test_every_compression_that_pydicom_knows_names_packages() -> None:
    from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS

    for decoder, _ in _PIXEL_DATA_DECODERS.values():
        if decoder.missing_dependencies:
            packages = _packages(decoder.missing_dependencies)
            assert packages and ">" not in packages and "requires" not in packages


def test_a_film_is_refused(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.dcm", MPEG4HP41)
    message = refusal(lambda: read_frames(path))
    assert f"{path}: is compressed as MPEG-4" in message and "pydicom does not decode" in message


def test_what_pydicom_logs_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.arange(480, dtype=np.uint8).reshape(24, 20))
    syntax = b"1.2.840.10008.1.2.1"  # explicit VR, little endian
    path.write_bytes(path.read_bytes().replace(syntax, syntax.replace(b".10008", b".1 008"), 1))
    with caplog.at_level("WARNING"):
        refusal(lambda: read_frames(path))
    assert caplog.records == []
