"""Controls: conditions of the same shape as an encoder's that tell nothing about their image.

A model that gains as much from one of them as from an encoder does not gain from what the encoder sees:
`random` tells images apart and says nothing about them, `constant` does not even tell them apart, and `shuffled`
has an encoder's own distribution, given to the wrong images.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from flowseg.embeddings.images import LoadedImage, load_images, split_of
from flowseg.embeddings.store import EmbeddingStore, Encoder
from flowseg.errors import UserError

WIDTH = 2048


class Random:
    """Standard normal numbers, a function of the seed and the image's content."""

    batch = 64
    keeps_parts = False

    def __init__(self, seed: int, width: int = WIDTH):
        self.encoder = Encoder("random", {"seed": seed}, width)
        self._seed = seed

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """One vector per image."""
        return np.stack([self._vector(image.content) for image in images])

    def _vector(self, content: str) -> Float32[np.ndarray, "e"]:
        generator = np.random.default_rng([self._seed, int(content, 16)])
        return generator.standard_normal(self.encoder.width, dtype=np.float32)


class Constant:
    """The same standard normal numbers for every image, a function of the seed."""

    batch = 64
    keeps_parts = False

    def __init__(self, seed: int, width: int = WIDTH):
        self.encoder = Encoder("constant", {"seed": seed}, width)
        self._vector = np.random.default_rng(seed).standard_normal(width, dtype=np.float32)

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """The vector, as often as there are images."""
        return np.tile(self._vector, (len(images), 1))


def derangement(count: int, seed: int, stream: int = 0) -> Int[np.ndarray, " n"]:
    """A permutation by seed that leaves nothing in its place: each passes to the next on a random circle.

    Raises:
        ValueError: fewer than two.
    """
    if count < 2:
        raise ValueError(f"need two or more, got {count}")
    circle = np.random.default_rng([seed, stream]).permutation(count)
    partners = np.empty(count, np.int64)
    partners[circle] = np.roll(circle, -1)
    return partners


def other_image(contents: Mapping[str, str], seed: int) -> dict[str, str]:
    """For each image's content another image's, within its split, each used once.

    The images of a split, in order of their hashes, are put on a circle by chance; each gets its neighbour's.

    Args:
        contents: content hashes by name; a picture in two splits belongs to the first.
        seed: of the circle.

    Returns:
        The other's content hash by content hash: a permutation of each split without a fixed point.

    Raises:
        UserError: a split of fewer than two different images.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    seen: set[str] = set()
    for key, content in contents.items():
        split = split_of(key)
        splits[split]  # a split whose pictures all belong to another is named below
        if content not in seen:
            splits[split].add(content)
            seen.add(content)
    other: dict[str, str] = {}
    for number, (split, members) in enumerate(sorted(splits.items())):
        if len(members) < 2:
            where = f"the split {split}" if split else "the folder"
            raise UserError(f"{where} has fewer than two different images: there is none to shuffle with")
        images = sorted(members)
        partners = derangement(len(images), seed, number)
        other.update((image, images[partner]) for image, partner in zip(images, partners, strict=True))
    return other


class Shuffled:
    """A store's vectors, each given to another image of the same split.

    Args:
        store: where the vectors come from.
        files: the whole data set's images by name, not only those to embed.
        seed: of the exchange.
        data: where the images are, for messages.
        skip_bad: leave out images that cannot be read.

    Raises:
        UserError: an image cannot be read or is not in the store, or a split has fewer than two images.
    """

    batch = 64
    keeps_parts = False  # an image's vector depends on the others

    def __init__(self, store: EmbeddingStore, files: Mapping[str, Path], seed: int, data: str, skip_bad: bool = False):
        contents: dict[str, str] = {}
        for key, loaded in load_images(files.items()):
            if isinstance(loaded, LoadedImage):
                contents[key] = loaded.content
            elif not skip_bad:
                raise loaded
        other = other_image(contents, seed)
        store.vectors(list(contents), list(contents.values()), data)  # refuses what it does not hold
        own = store.rows(list(other.values()))
        self._row = {content: row for content, row in zip(other, own, strict=True) if row is not None}
        self._store = store
        self.encoder = Encoder("shuffled", {"of": asdict(store.encoder), "seed": seed}, store.encoder.width)

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """Another image's vector for each image."""
        return self._store.read([self._row[image.content] for image in images])
