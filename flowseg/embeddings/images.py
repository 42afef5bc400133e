"""Finding the images to embed, and reading them ahead of the encoder."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from flowseg.data.folders import SPLITS, find_pairs, list_images
from flowseg.data.image_files import as_uint8, read_image
from flowseg.errors import UserError
from flowseg.progress import task

_THREADS = 2
_AHEAD = 16  # images that are read before the encoder asks for them


@dataclass(frozen=True)
class LoadedImage:
    """A whole image as the encoders get it."""

    path: Path
    content: str
    """Content hash of the image as stored."""
    grey: UInt8[np.ndarray, "h w"]
    """Grey values, scaled to 0 to 255."""


def find_images(data: Path) -> dict[str, Path]:
    """Returns the image files of a data set by split/stem, or of a plain folder by stem, sorted in each folder.

    Raises:
        UserError: there is no such folder, it holds no images, or images and labels of a data set do not match.
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


def _load(path: Path) -> LoadedImage | UserError:
    try:
        image, content = read_image(path)
        return LoadedImage(path, content, as_uint8(image))
    except UserError as error:
        return error


def load_images(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, LoadedImage | UserError]]:
    """Yields images in order, reading a few ahead; for an image that cannot be read it yields the error."""
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


def read_contents(files: Mapping[str, Path], skip_bad: bool = False) -> dict[str, str]:
    """Reads all images and returns their content hashes by name, without those that cannot be read if `skip_bad`.

    Raises:
        UserError: an image cannot be read.
    """
    contents: dict[str, str] = {}
    with task("reading images", len(files)) as advance:
        for key, loaded in load_images(files.items()):
            if isinstance(loaded, LoadedImage):
                contents[key] = loaded.content
            elif not skip_bad:
                raise loaded
            advance()
    return contents
