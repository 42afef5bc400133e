"""Where the embeddings of images come from: a store, or the image-stats encoder, which runs on the spot."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from flowseg.data.folders import as_uint8, read_image
from flowseg.embeddings import image_stats
from flowseg.embeddings.images import LoadedImage
from flowseg.embeddings.store import EmbeddingStore, Encoder
from flowseg.errors import UserError
from flowseg.progress import task

IMAGE_STATS = Encoder("image-stats", {"version": image_stats.VERSION}, image_stats.WIDTH)
_THREADS = 2


def describe_images(
    paths: Sequence[Path], on_image: Callable[[], None] | None = None
) -> tuple[list[str], Float32[np.ndarray, "n e"]]:
    """Returns the content hashes and image-stats vectors of image files; `on_image` is called after each file."""

    def one(path: Path) -> tuple[str, np.ndarray]:
        image, content = read_image(path)
        return content, image_stats.describe(as_uint8(image))

    hashes, vectors = [], []
    with ThreadPoolExecutor(_THREADS) as pool:
        for content, vector in pool.map(one, paths):
            hashes.append(content)
            vectors.append(vector)
            if on_image is not None:
                on_image()
    return hashes, np.stack(vectors)


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
        return describe_images(paths, on_image)[1]

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
