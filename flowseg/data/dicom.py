"""Reading the frames of DICOM files as grey images (PS3.3 of the standard; decoded by pydicom).

A frame's values are the stored values after the modality LUT or rescale, inverted if the lowest value is white
(MONOCHROME1). The window (VOI LUT) is not applied: it is a reader's choice, it clips values, and every image is scaled
by its own smallest and largest value anyway. Bits beyond Bits Stored are ignored. Padding gets the darkest of the
other values.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pydicom
from jaxtyping import Bool, Num
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, get_decoder, iter_pixels

from flowseg.data.image_files import check_pixels, no_file, plain_type
from flowseg.errors import UserError, first_of, pip_install

SUFFIXES = (".dcm", ".dicom")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_MAGIC_AT = 128
Frame: TypeAlias = tuple[int, Num[np.ndarray, "h w"]]  # its number, counted from 1, and its grey values


def is_dicom(path: Path) -> bool:
    """Whether a file has a DICOM suffix or a DICOM preamble; many DICOM files have no suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if not path.is_file():  # a FIFO would be waited for
        return False
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
    except OSError:
        return False  # the error is reported when the file is read


def read_frames(path: Path, wanted: Sequence[int] | None = None) -> tuple[int, list[Frame]]:
    """Returns the number of frames in a DICOM file, and the number and grey values of each wanted frame (None: all).

    Frames are counted from 1, as in the standard. Whole numbers are uint8 or uint16 if they fit, everything else is
    float32; so a frame and a PNG of the same values have the same hash.

    Raises:
        UserError: the file is not DICOM, has no pixels, too many (MAX_PIXELS in image_files.py) or colour, needs a
            decoder that is not installed, lacks a wanted frame, or has pixel data that do not match their description.
    """
    with _opened(path) as dataset:
        count = _count(dataset)
        numbers = check_frames(path, count, wanted)
        frames = iter_pixels(dataset, indices=(number - 1 for number in numbers))
        return count, [(n, _grey(values, dataset, n)) for n, values in zip(numbers, frames, strict=True)]


def frames_and_size(path: Path) -> tuple[int, tuple[int, int]]:
    """Returns the number of frames, and the height and width that a DICOM file claims to have; decodes no pixels.

    Raises:
        UserError: as `read_frames`, except for what shows only when pixels are decoded.
    """
    with _opened(path) as dataset:
        return _count(dataset), (int(dataset.Rows), int(dataset.Columns))


@contextmanager
def _opened(path: Path) -> Iterator[pydicom.Dataset]:
    """Yields a DICOM file with grey frames; whatever goes wrong with it in the block becomes a UserError."""
    if path.exists() and not path.is_file():
        raise no_file(path)
    try:
        # What pydicom warns about, in either way, does not matter here or leads to an error below.
        with warnings.catch_warnings(), _silent(logging.getLogger("pydicom")):
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            _check(dataset, path)
            yield dataset
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except InvalidDicomError:
        raise UserError(f"{path}: is not a DICOM file (no DICM after its preamble); check the file") from None
    except UserError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds; each means that the file is unreadable
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as DICOM ({reason}); replace or remove it") from None


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keeps a logger from printing within the block."""
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _count(dataset: pydicom.Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def check_frames(path: Path, count: int, wanted: Sequence[int] | None) -> Sequence[int]:
    """Returns the wanted frame numbers, counted from 1 (None: all), of a file with `count` frames.

    Raises:
        UserError: a frame is missing.
    """
    missing = [number for number in wanted or () if not 1 <= number <= count]
    if missing:
        has = f"frames 1 to {count}" if count > 1 else "one frame"
        raise UserError(f"{path}: has no frame {first_of([str(n) for n in missing])}, it has {has}; change --frames")
    return wanted if wanted is not None else range(1, count + 1)


def _check(dataset: pydicom.Dataset, path: Path) -> None:
    """Raises a UserError if the file holds no grey frames or cannot be decoded."""
    if not any(name in dataset for name in _PIXELS):
        kind = getattr(dataset.get("SOPClassUID"), "name", "") or "of unknown kind"
        raise UserError(f"{path}: is a DICOM file without pixels ({kind}); give one that holds an image")
    check_pixels(path, int(dataset.Rows), int(dataset.Columns))
    photometric = dataset.get("PhotometricInterpretation", "none")
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in _GREY:
        raise UserError(f"{path}: is not grey (photometric interpretation {photometric}); convert it to MONOCHROME2")
    syntax = dataset.file_meta.TransferSyntaxUID
    compressed = f"{path}: is compressed as {syntax.name}"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UserError(f"{compressed}, which pydicom does not decode; save it uncompressed") from None
    if not decoder.is_available:
        packages = _packages(decoder.missing_dependencies)
        raise UserError(f"{compressed}, which needs another package: {pip_install()} {packages}")


def _packages(missing: Sequence[str]) -> str:
    """Returns the packages to install, from pydicom's lines such as `gdcm - requires gdcm>=3.0.10`."""
    ways = [re.findall(r"([\w-]+)>=", line) for line in missing]
    # The package of the module gdcm is called python-gdcm.
    return ", or ".join(" ".join("python-gdcm" if name == "gdcm" else name for name in way) for way in ways)


def _grey(values: Num[np.ndarray, "h w"], dataset: pydicom.Dataset, number: int) -> Num[np.ndarray, "h w"]:
    """Returns the values that a frame stands for, up to a positive scale and an offset, as `plain_type` does."""
    padded = _padded(values, dataset)
    if dataset.get("ModalityLUTSequence"):
        values, slope = apply_modality_lut(values, dataset), 1.0
    else:
        given = _rescale(dataset, number).get("RescaleSlope")
        slope = 1.0 if given is None else float(given)  # the element may be empty
    if slope == 0 or not np.isfinite(values).all():
        raise ValueError(f"frame {number}: " + ("rescale slope 0" if slope == 0 else "values that are not finite"))
    # Images are scaled by their own smallest and largest value, so only the sign of the slope matters. Not applying
    # the rest keeps whole numbers whole.
    inverted = (slope < 0) != (dataset.PhotometricInterpretation == "MONOCHROME1")
    if padded.any() and not padded.all():
        shown = values[~padded]
        values = np.where(padded, shown.max() if inverted else shown.min(), values)
    if inverted:
        # Whole numbers may overflow in between; the result fits the type.
        values = values.max() - (values - values.min())
    return plain_type(values)


def _padded(values: Num[np.ndarray, "h w"], dataset: pydicom.Dataset) -> Bool[np.ndarray, "h w"]:
    """Returns where stored values are padding, which fills a frame up and shows nothing (PS3.3 C.7.5.1.1.2)."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None or values.dtype.kind == "f":  # it is defined for whole numbers only
        return np.zeros(values.shape, bool)
    ends = (int(value), int(value if limit is None else limit))
    return (values >= min(ends)) & (values <= max(ends))


def _rescale(dataset: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """Returns the data set with a frame's rescale: its own functional group, the shared one, or the file itself."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[number - 1 : number], *shared[:1]]:
        if group.get("PixelValueTransformationSequence"):
            return group.PixelValueTransformationSequence[0]
    return dataset
