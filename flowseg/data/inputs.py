"""Images to segment, from files, folders and DICOM series; each frame is a separate image.

Pixels are used as they are stored: an EXIF orientation is reported, but not applied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from flowseg.config import Channel
from flowseg.data import dicom
from flowseg.data.folders import check_name, list_images, missing_fov
from flowseg.data.image_files import (
    SUFFIXES,
    UPRIGHT,
    channel_name,
    check_size,
    content_hash,
    open_image,
    read_fov,
    read_stored,
    scaled,
)
from flowseg.errors import UserError
from flowseg.progress import task

_DIRECTORY = "DICOMDIR"  # the standard name of a DICOM medium's index, which holds no image


@dataclass(frozen=True)
class Input:
    """One image to segment."""

    name: str
    """The name of its outputs: the file's name without suffix, and _frame007 if the file has several frames."""
    path: Path
    stem: str
    """The file's name without suffix."""
    frame: int | None
    """The frame's number, counted from 1; None if the file has only one."""
    image: Float32[np.ndarray, "h w"]
    """Grey values in [-1, 1]; of a colour image the chosen channel."""
    luminance: Float32[np.ndarray, "h w"]
    """Those that embeddings are made of; the same array for a grey image."""
    content: str
    """Content hash of this frame, of its luminance."""
    orientation: int
    """The file's EXIF orientation, which is not applied; 1 is upright."""
    channel: Channel
    """What was read of a colour image; that of a grey image is the same whatever it is."""


def read_inputs(
    paths: Sequence[Path], frames: Sequence[int] | None = None, channel: Channel = "luminance"
) -> list[Input]:
    """Reads all images of the given files and folders, in order; the images of a folder are sorted by name.

    `frames` says which frames of each file, counted from 1 (None: all), `channel` what of colour images.

    Raises:
        UserError: a file cannot be read or lacks a frame, a folder holds no images, or two images have one name.
    """
    files = input_files(paths)
    found: dict[str, Input] = {}
    with task("reading images", len(files)) as advance:
        for file in files:
            for item in _read(file, frames, channel):
                if item.name in found:
                    raise UserError(
                        f"{item.path}: its outputs would have the same name, {item.name}, as those of "
                        f"{found[item.name].path}; predict them into different --out folders"
                    )
                found[item.name] = item
            advance()
    return list(found.values())


def input_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files that are given, and those of the given folders, sorted by name; they need not be readable.

    Raises:
        UserError: a folder holds no images.
    """
    return [file for path in paths for file in (_files(path) if path.is_dir() else [path])]


def stem_of(path: Path) -> str:
    """Returns a file's name without its suffix, from which its outputs have theirs."""
    # Only known suffixes are removed, because a DICOM file without suffix may be called 1.2.840.
    return path.stem if path.suffix.lower() in (*SUFFIXES, *dicom.SUFFIXES) else path.name


def read_fovs(folder: Path, items: Sequence[Input]) -> list[Bool[np.ndarray, "h w"]]:
    """Reads the field of view of each image, the mask in a folder with the stem of the image's file.

    All frames of a file share one.

    Raises:
        UserError: there is no such folder, an image has no mask, or one does not fit.
    """
    files, read = fov_files(folder, [item.path for item in items]), cache(read_fov)
    fovs = []
    for item, file in zip(items, files, strict=True):
        fovs.append(read(file))
        check_size(file, fovs[-1], item.image.shape, "a field of view")
    return fovs


def fov_files(folder: Path, images: Sequence[Path]) -> list[Path]:
    """Returns the file of each image's field of view, of those in a folder; nothing is read.

    Raises:
        UserError: there is no such folder, or an image has no mask.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that holds a mask for each image")
    files = list_images(folder)
    for image in images:
        if stem_of(image) not in files:
            raise missing_fov(image, folder / stem_of(image))
    return [files[stem_of(image)] for image in images]


def frames_and_size(path: Path) -> tuple[int, tuple[int, int]]:
    """Returns how many frames an image file has, and their height and width; decodes no pixels.

    Raises:
        UserError: the file is missing, damaged, or of a kind that `read_inputs` does not read.
    """
    if dicom.is_dicom(path):
        return dicom.frames_and_size(path)
    with open_image(path) as file:
        return 1, (file.height, file.width)


def _files(folder: Path) -> list[Path]:
    """Returns the image files of a folder, sorted; hidden and other files are ignored, as in a data set.

    What has an image's name and is no file is left to the reader to refuse.
    """
    files = [
        path
        for path in sorted(folder.iterdir())
        if not path.is_dir() and not path.name.startswith(".") and path.name != _DIRECTORY
        if path.suffix.lower() in SUFFIXES or dicom.is_dicom(path)
    ]
    if not files:
        kinds = ", ".join(suffix[1:] for suffix in (*SUFFIXES, *dicom.SUFFIXES))
        raise UserError(f"{folder}: holds no images ({kinds}); give files or a folder of images")
    return files


def _read(path: Path, frames: Sequence[int] | None, channel: Channel) -> Iterator[Input]:
    """Yields the wanted images of a file."""
    check_name(path)
    stem = stem_of(path)
    if dicom.is_dicom(path):
        count, found = dicom.read_frames(path, frames)
        read = [(number, grey, grey) for number, grey in found]  # DICOM files of colour are not read
        turned = UPRIGHT
    else:
        stored = read_stored(path)
        count, read, turned = 1, [(1, stored.luminance, stored.channel(channel))], stored.orientation
        dicom.check_frames(path, 1, frames)
    digits = max(3, len(str(count)))
    for number, grey, values in read:
        where, remedy = (
            (f"{path} frame {number}", "leave it out (--frames)") if count > 1 else (str(path), "remove it")
        )
        luminance = scaled(grey, where, remedy)
        image = luminance if values is grey else scaled(values, channel_name(where, channel), remedy)
        name, frame = (f"{stem}_frame{number:0{digits}d}", number) if count > 1 else (stem, None)
        yield Input(name, path, stem, frame, image, luminance, content_hash(grey), turned, channel)
