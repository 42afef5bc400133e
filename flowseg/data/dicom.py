"""DICOM files as grey images, a frame at a time (PS3.3 of the standard; decoded by pydicom).

A frame is what its file says a display starts from: stored values, through the modality LUT or rescale, inverted where
the lowest is white (MONOCHROME1). The window (VOI LUT) is left out: it is a reader's choice, it cuts values off, and
every image is scaled by its own least and greatest value anyway. Bits beyond Bits Stored are ignored.
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Num
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, get_decoder, iter_pixels

from flowseg.data.folders import plain_type
from flowseg.errors import UserError, first_of

SUFFIXES = (".dcm", ".dicom")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_MAGIC_AT = 128


def is_dicom(path: Path) -> bool:
    """Whether a file is named like a DICOM file or begins like one; many have no suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
    except OSError:
        return False  # whoever opens it says why


def read_frames(
    path: Path, wanted: Sequence[int] | None = None
) -> tuple[int, list[tuple[int, Num[np.ndarray, "h w"]]]]:
    """Frames of a DICOM file as grey values.

    Args:
        wanted: frame numbers, counted from 1 as in the standard; None: all.

    Returns:
        How many frames the file holds, and the number and values of those wanted. Values are uint8 or uint16 where
        they are whole numbers that fit, else float32: a frame and a PNG of the same values have the same content hash.

    Raises:
        UserError: not a DICOM file, no pixels, colour, a compression that cannot be decoded here, a frame that does
            not exist, or pixel data that do not fit their description.
    """
    try:
        # What pydicom warns of is either no matter here or ends in an error.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            count = int(dataset.get("NumberOfFrames") or 1)
            _check(dataset, path)
            numbers = check_frames(path, count, wanted)
            frames = iter_pixels(dataset, indices=[number - 1 for number in numbers])
            return count, [(n, _grey(values, dataset, n)) for n, values in zip(numbers, frames, strict=True)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except InvalidDicomError:
        raise UserError(f"{path}: is not a DICOM file (no DICM after its preamble); check the file") from None
    except UserError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds; each means an unreadable file.
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as DICOM ({reason}); replace or remove it") from None


def check_frames(path: Path, count: int, wanted: Sequence[int] | None) -> list[int]:
    """The wanted frame numbers of a file that has `count` of them; None: all. One that does not exist is refused."""
    missing = sorted(set(wanted or ()) - set(range(1, count + 1)))
    if missing:
        has = f"frames 1 to {count}" if count > 1 else "one frame"
        raise UserError(f"{path}: has no frame {first_of([str(n) for n in missing])}, it has {has}; change --frames")
    return list(wanted if wanted is not None else range(1, count + 1))


def _check(dataset: pydicom.Dataset, path: Path) -> None:
    """Refuses what holds no grey frames or cannot be decoded."""
    if not any(name in dataset for name in _PIXELS):
        kind = getattr(dataset.get("SOPClassUID"), "name", "") or "of unknown kind"
        raise UserError(f"{path}: is a DICOM file without pixels ({kind}); give one that holds an image")
    photometric = dataset.get("PhotometricInterpretation", "none")
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in _GREY:
        raise UserError(f"{path}: is not grey (photometric interpretation {photometric}); convert it to MONOCHROME2")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UserError(
            f"{path}: is compressed as {syntax.name}, which pydicom does not decode; save it uncompressed"
        ) from None
    if not decoder.is_available:
        raise UserError(
            f"{path}: is compressed as {syntax.name}, which needs another package: "
            f"pip install {_packages(decoder.missing_dependencies)}"
        )


def _packages(missing: Sequence[str]) -> str:
    """What to install, of pydicom's lines such as `gdcm - requires gdcm>=3.0.10`: one of several ways."""
    ways = [re.findall(r"([\w-]+)>=", line) for line in missing]
    # The package is not called like its module.
    return ", or ".join(" ".join("python-gdcm" if name == "gdcm" else name for name in way) for way in ways)


def _grey(values: Num[np.ndarray, "h w"], dataset: pydicom.Dataset, number: int) -> Num[np.ndarray, "h w"]:
    """A frame's values as they are meant, in the plainest type."""
    if dataset.get("ModalityLUTSequence"):
        values, slope = apply_modality_lut(values, dataset), 1.0
    else:
        slope = float(_rescale(dataset, number).get("RescaleSlope", 1))
    if slope == 0 or not np.isfinite(values).all():
        raise ValueError(f"frame {number}: " + ("rescale slope 0" if slope == 0 else "values that are not finite"))
    # Of a rescale only the sign shows in an image that is scaled by its own least and greatest value; leaving the
    # rest out keeps whole numbers whole.
    if (slope < 0) != (dataset.PhotometricInterpretation == "MONOCHROME1"):
        # Whole numbers may wrap around on the way; the result fits its type.
        values = values.max() - (values - values.min())
    return plain_type(values)


def _rescale(dataset: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """What holds a frame's rescale: its own functional group, the one that all share, or the file itself."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[number - 1 : number], *shared[:1]]:
        if group.get("PixelValueTransformationSequence"):
            return group.PixelValueTransformationSequence[0]
    return dataset
