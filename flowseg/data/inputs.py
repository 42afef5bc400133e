"""Images to segment, from files, folders and DICOM series: each frame is an image of its own.

Pixels lie as they are stored: an EXIF orientation is not applied, only told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num
from PIL import ExifTags, Image

from flowseg.data import dicom
from flowseg.data.folders import SUFFIXES, content_hash, decode, scaled
from flowseg.errors import UserError

_UPRIGHT = 1
_DIRECTORY = "DICOMDIR"  # the index of a DICOM medium: named by the standard, holds no image


@dataclass(frozen=True)
class Input:
    """One image to segment."""

    name: str
    """What its outputs are called: the file's name without suffix, and _frame007 where the file has several."""
    path: Path
    frame: int | None
    """Counted from 1; None where the file has one image only."""
    image: Float32[np.ndarray, "h w"]
    """Grey values in [-1, 1]."""
    content: str
    """Content hash, a frame's own."""
    orientation: int
    """The file's EXIF orientation; 1 is upright. It is not applied."""


def read_inputs(paths: Sequence[Path], frames: Sequence[int] | None = None) -> list[Input]:
    """Every image of some files and folders, in order; a folder stands for the images in it, sorted by name.

    Args:
        frames: which frames of each file, counted from 1; None: all.

    Raises:
        UserError: a file that cannot be read or has no such frame, a folder without images, two images of one name.
    """
    found: dict[str, Input] = {}
    for path in paths:
        for file in _files(path) if path.is_dir() else [path]:
            for item in _read(file, frames):
                if item.name in found:
                    raise UserError(
                        f"{item.path}: its outputs would be called {item.name} like those of {found[item.name].path}; "
                        "predict them into different --out folders"
                    )
                found[item.name] = item
    return list(found.values())


def _files(folder: Path) -> list[Path]:
    """The image files of a folder; as in a data set, others are passed over."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".") and path.name != _DIRECTORY
        if path.suffix.lower() in SUFFIXES or dicom.is_dicom(path)
    ]
    if not files:
        kinds = ", ".join(suffix[1:] for suffix in (*SUFFIXES, *dicom.SUFFIXES))
        raise UserError(f"{folder}: holds no images ({kinds}); give files or a folder of images")
    return files


def _read(path: Path, frames: Sequence[int] | None) -> Iterator[Input]:
    suffixes = (*SUFFIXES, *dicom.SUFFIXES)
    # A DICOM file without suffix may be called 1.2.840: only known suffixes are taken off.
    stem = path.stem if path.suffix.lower() in suffixes else path.name
    if not dicom.is_dicom(path):
        grey = decode(path)
        dicom.check_frames(path, 1, frames)
        yield _input(stem, path, None, grey, _orientation(path))
        return
    count, read = dicom.read_frames(path, frames)
    digits = max(3, len(str(count)))
    for number, grey in read:
        if count == 1:
            yield _input(stem, path, None, grey, _UPRIGHT)
        else:
            yield _input(f"{stem}_frame{number:0{digits}d}", path, number, grey, _UPRIGHT)


def _input(name: str, path: Path, frame: int | None, grey: Num[np.ndarray, "h w"], orientation: int) -> Input:
    where, remedy = (str(path), "remove it") if frame is None else (f"{path} frame {frame}", "leave it out (--frames)")
    return Input(name, path, frame, scaled(grey, where, remedy), content_hash(grey), orientation)


def _orientation(path: Path) -> int:
    """The EXIF orientation, of a file that has been read before.

    Raises:
        UserError: a TIFF file that is to be turned: Pillow turns it while it reads, uncompressed ones wrongly.
    """
    with Image.open(path) as file:
        orientation = file.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
        if file.format == "TIFF" and orientation != _UPRIGHT:
            raise UserError(f"{path}: has the orientation tag {orientation}; save it upright and without the tag")
    return orientation
