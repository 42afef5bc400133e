"""Where the embeddings of images come from: a store, or the image-stats encoder, which runs on the spot."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from flowseg.data.image_files import as_uint8, read_image
from flowseg.embeddings import image_stats
from flowseg.embeddings.images import LoadedImage
from flowseg.embeddings.kept_stats import KeptStats
from flowseg.embeddings.store import EmbeddingStore, Encoder
from flowseg.errors import UserError
from flowseg.progress import task

IMAGE_STATS = Encoder("image-stats", {"version": image_stats.VERSION}, image_stats.WIDTH)
_THREADS = 2


def describe_images(
    paths: Sequence[Path],
) -> tuple[list[str], Float32[np.ndarray, "n e"]]:
    """Returns the content hashes and image-stats vectors of image files."""
    hashes, vectors = zip(*_described(paths), strict=True)
    return list(hashes), np.stack(vectors)


def _described(paths: Sequence[Path]) -> Iterator[tuple[str, Float32[np.ndarray, " 2048"]]]:
    """Yields the content hash and the image-stats vector of each image file."""

    def one(path: Path) -> tuple[str, np.ndarray]:
        image, content = read_image(path)
        return content, image_stats.describe(as_uint8(image))

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(one, paths)


def _kept_or_described(
    paths: Sequence[Path], hashes: Sequence[str], on_image: Callable[[], None]
) -> Float32[np.ndarray, "n e"]:
    """Returns the image-stats vectors of image files with these content hashes; those not yet kept are kept."""
    kept = KeptStats()
    vectors = [kept.find(content) for content in hashes]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    for _ in range(len(paths) - len(missing)):
        on_image()
    for i, (content, vector) in zip(missing, _described([paths[i] for i in missing]), strict=True):
        vectors[i] = vector
        kept.keep(content, vector)
        on_image()
    kept.report()
    return np.stack([vector for vector in vectors if vector is not None])


class ImageStats:
    """The image-stats encoder for `flowseg embed`."""

    encoder = IMAGE_STATS
    batch = 8
    keeps_parts = True

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n 2048"]:
        """Returns one descriptor per image."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return np.stack(list(pool.map(lambda image: image_stats.describe(image.grey), images)))


class EmbeddingSource:
    """Vectors for images, from a store's file or, without one, by image-stats.

    Raises:
        UserError: the store cannot be read, or its vectors are not as wide as the network expects.
    """

    def __init__(self, store: str | None, width: int):
        self._store = EmbeddingStore(Path(store)) if store is not None else None
        self.encoder = self._store.encoder if self._store is not None else IMAGE_STATS
        if self.encoder.width != width:
            raise UserError(
                f"model.film.embedding_width = {width}: {store or 'image-stats'} gives {self.encoder.width} numbers; "
                f"set --model.film.embedding-width {self.encoder.width} or use another store"
            )

    def vectors(
        self,
        keys: Sequence[str],
        paths: Sequence[Path],
        hashes: Sequence[str],
        data: str,
        on_image: Callable[[], None] | None = None,
    ) -> Float32[np.ndarray, "n e"]:
        """Returns one vector per image file; the names and the data set's folder are for messages.

        Raises:
            UserError: the store lacks an image.
        """
        if self._store is not None:
            return self._store.vectors(keys, hashes, data, on_image)
        return _kept_or_described(paths, hashes, on_image or (lambda: None))

    def of_images(
        self, keys: Sequence[str], images: Sequence[Float32[np.ndarray, "h w"]], hashes: Sequence[str], data: str
    ) -> Float32[np.ndarray, "n e"]:
        """Returns the same vectors for images in memory, in [-1, 1] and of the size in which they are stored."""
        if self._store is not None:
            return self._store.vectors(keys, hashes, data)
        vectors = []
        with task(f"{self.encoder.name} embeddings", len(images)) as advance:
            for image in images:
                vectors.append(image_stats.describe(as_uint8(image)))
                advance()
        return np.stack(vectors)
