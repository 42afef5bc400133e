"""Controls: embeddings of the same shape as an encoder's that carry no information about the content of their image.

A model that gains as much from a control as from an encoder does not gain from what the encoder sees. `random` only
identifies each image, `constant` is the same for all images, and `shuffled` has the distribution of an encoder's
vectors, but each belongs to another image.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from flowseg.data.folders import split_of
from flowseg.embeddings.images import LoadedImage, read_contents
from flowseg.embeddings.store import EmbeddingStore, Encoder
from flowseg.errors import UserError

WIDTH = 2048


class Random:
    """Standard normal numbers that depend only on the seed and the image's content."""

    batch = 64
    keeps_parts = False

    def __init__(self, seed: int = 0, width: int = WIDTH):
        self.encoder = Encoder("random", {"seed": seed}, width)
        self._seed = seed

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """Returns one vector per image."""
        generators = [np.random.default_rng([self._seed, int(image.content, 16)]) for image in images]
        return np.stack([each.standard_normal(self.encoder.width, dtype=np.float32) for each in generators])


class Constant:
    """Standard normal numbers that depend only on the seed and are the same for every image."""

    batch = 64
    keeps_parts = False

    def __init__(self, seed: int = 0, width: int = WIDTH):
        self.encoder = Encoder("constant", {"seed": seed}, width)
        self._vector = np.random.default_rng(seed).standard_normal(width, dtype=np.float32)

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """Returns the same vector for each image."""
        return np.tile(self._vector, (len(images), 1))


def derangement(count: int, seed: int, stream: int = 0) -> Int[np.ndarray, " n"]:
    """Returns a random permutation without a fixed point: a single cycle through all numbers below `count`.

    Raises:
        ValueError: `count` is below two.
    """
    if count < 2:
        raise ValueError(f"need two or more, got {count}")
    circle = np.random.default_rng([seed, stream]).permutation(count)
    partners = np.empty(count, np.int64)
    partners[circle] = np.roll(circle, -1)
    return partners


def other_image(contents: Mapping[str, str], seed: int) -> dict[str, str]:
    """Assigns another image of the same split to each image; every image is used once.

    The images of a split, sorted by their hashes, are permuted in a single random cycle (`derangement`). An image that
    is in two splits belongs to the first. `contents` holds content hashes by name; the result, by content hash.

    Raises:
        UserError: a split holds fewer than two different images.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    seen: set[str] = set()
    for key, content in contents.items():
        split = split_of(key)
        splits[split]  # creates the set, so that a split whose images all belong to another is refused below
        if content not in seen:
            splits[split].add(content)
            seen.add(content)
    other: dict[str, str] = {}
    for number, (split, members) in enumerate(sorted(splits.items())):
        if len(members) < 2:
            where = f"the split {split}" if split else "the folder"
            raise UserError(f"{where} has fewer than two different images: no two can be exchanged")
        images = sorted(members)
        partners = derangement(len(images), seed, number)
        other.update(zip(images, [images[partner] for partner in partners], strict=True))
    return other


class Shuffled:
    """The vectors of a store, each assigned to another image of the same split.

    `files` are all images of the data set, not only those to embed; `data`, its folder, is for messages.

    Raises:
        UserError: an image cannot be read or is not in the store, or a split has fewer than two different images.
    """

    batch = 64
    keeps_parts = False  # the vector of an image depends on the other images

    def __init__(self, store: str, files: Mapping[str, Path], data: Path, skip_bad: bool, seed: int = 0):
        self._store = EmbeddingStore(Path(store))
        contents = read_contents(files, skip_bad)
        other = other_image(contents, seed)
        self._store.vectors(list(contents), list(contents.values()), str(data))  # raises if an image is missing
        own = self._store.rows(list(other.values()))
        self._row = {content: row for content, row in zip(other, own, strict=True) if row is not None}
        of = self._store.encoder
        self.encoder = Encoder("shuffled", {"of": asdict(of), "seed": seed}, of.width)

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """Returns the vector of another image for each image."""
        return self._store.read([self._row[image.content] for image in images])
