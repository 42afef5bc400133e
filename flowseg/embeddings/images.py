"""The images to embed: their files, and reading them ahead of the encoder."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from flowseg.data.folders import SPLITS, as_uint8, find_pairs, list_images, read_image
from flowseg.errors import UserError

_THREADS = 2
_AHEAD = 16  # images in memory beside those that the encoder works on


@dataclass(frozen=True)
class LoadedImage:
    """One whole image as the encoders see it."""

    path: Path
    content: str
    """Its content hash."""
    grey: UInt8[np.ndarray, "h w"]
    """Its grey values, spread over 0 to 255."""


def find_images(data: Path) -> dict[str, Path]:
    """Image files of a data set (train, val, test) by split/stem, or of a plain folder by stem, in order.

    Raises:
        UserError: no such folder, no images in it, or a data set whose images and labels do not fit.
    """
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give a data set or a folder of images")
    splits = [split for split in SPLITS if (data / split).is_dir()]
    if splits:
        files = {pair.key: pair.image for split in splits for pair in find_pairs(data, split)}
    else:
        files = list_images(data)
    if not files:
        raise UserError(f"{data}: holds no images; give a data set or a folder of images")
    return files


def split_of(key: str) -> str:
    """The split in an image's name; empty for the images of a plain folder."""
    split, slash, _ = key.partition("/")
    return split if slash else ""


def _load(path: Path) -> LoadedImage | UserError:
    try:
        image, content = read_image(path)
    except UserError as error:
        return error
    return LoadedImage(path, content, as_uint8(image))


def load_images(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, LoadedImage | UserError]]:
    """Reads images in order, a few ahead of what is asked for; one that cannot be read comes as its error."""
    ahead: deque[tuple[str, Future[LoadedImage | UserError]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for key, path in files:
            ahead.append((key, pool.submit(_load, path)))
            if len(ahead) > _AHEAD:
                first, future = ahead.popleft()
                yield first, future.result()
        while ahead:
            first, future = ahead.popleft()
            yield first, future.result()
