"""What a store holds, and whether its vectors distinguish images.

An embedding that is nearly the same for every image cannot help a network. It is measured by the spread

    mean over images of |v - m|^2 / |m|^2,    where m is the mean vector,

the variance between images relative to what they share. A store whose spread is below 1e-3 (vectors differ from their
mean by less than about 3 %) is called useless.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from flowseg.data.folders import split_of
from flowseg.embeddings.images import read_contents
from flowseg.embeddings.store import EmbeddingStore

LEAST_SPREAD = 1e-3
DUPLICATE_COSINE = 0.9999
MOST_COMPARED = 4000
"""All pairs of up to this many images are compared; of a larger store, all pairs of a sample of this size."""
COSINE_EDGES = (-1.0, -0.5, 0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Edges of the histogram's bins, which are narrow near 1, where most cosines lie."""
_NAMED = 10
_ROWS = 512


@dataclass(frozen=True)
class Spread:
    """Norms of the vectors, and their distances from their mean."""

    norms: tuple[float, float, float]
    """Smallest, median and largest Euclidean norm."""
    spread: float
    """As defined in the module's docstring; infinite if the mean vector is zero and the vectors are not."""
    identical: bool
    """Whether all vectors are the same."""
    images: int
    """How many vectors there are."""

    @property
    def useless(self) -> bool:
        """Whether the vectors hardly distinguish images; a single one says nothing of that."""
        return self.images > 1 and self.spread < LEAST_SPREAD


@dataclass(frozen=True)
class Pairs:
    """How similar the vectors of different images are."""

    compared: int
    """Number of images whose pairs were compared."""
    of: int
    """Number of images in the store."""
    histogram: Int64[np.ndarray, " bins"]
    """Pairs per bin of COSINE_EDGES."""
    duplicates: int
    """Pairs of different images with a cosine above DUPLICATE_COSINE."""
    named: list[tuple[str, str, float]]
    """The names of the first of them, and their cosine."""

    def lines(self) -> list[str]:
        """Returns the histogram, and the pairs of images that are nearly the same, as lines of text."""
        of = "all" if self.compared == self.of else f"a sample of {self.compared} of the"
        lines = [f"cosines between {of} {self.of} images, pairs:"]
        for (low, high), count in zip(pairwise(COSINE_EDGES), self.histogram, strict=True):
            lines.append(f"  {low:6g} to {high:<6g} {count:10,d}")
        lines.append(f"different images with a cosine above {DUPLICATE_COSINE}: {self.duplicates:,} pairs")
        lines += [f"  {one} and {other}: {cosine:.6f}" for one, other, cosine in self.named]
        if self.duplicates > len(self.named):
            lines.append(f"  and {self.duplicates - len(self.named):,} more")
        return lines


@dataclass(frozen=True)
class Coverage:
    """How many images of a split a store holds."""

    split: str
    held: int
    total: int
    missing: list[str]


def measure_spread(store: EmbeddingStore) -> Spread:
    """Returns norms and spread of all vectors of a store, which must not be empty; it is read once."""
    norms = []
    total = np.zeros(store.encoder.width)
    squares = 0.0
    first: np.ndarray | None = None
    identical = True
    for block in store.blocks():
        first = block[0] if first is None else first
        identical = identical and bool((block == first).all())
        # Sums are taken relative to one of the vectors, so that no digits are lost if all are nearly the same.
        shifted = block.astype(np.float64) - first.astype(np.float64)
        total += shifted.sum(axis=0)
        squares += float(np.square(shifted).sum())
        norms.append(np.linalg.norm(block.astype(np.float32), axis=1))
    assert first is not None
    shift = total / len(store)
    mean_square = float(np.square(first.astype(np.float64) + shift).sum())
    variance = max(squares / len(store) - float(np.square(shift).sum()), 0.0)
    spread = variance / mean_square if mean_square else (np.inf if variance else 0.0)
    every = np.concatenate(norms)
    return Spread((float(every.min()), float(np.median(every)), float(every.max())), spread, identical, len(store))


def compare_pairs(store: EmbeddingStore, seed: int = 0) -> Pairs:
    """Returns the cosines between different images; of a large store, those of a sample that the seed fixes."""
    count = len(store)
    rows = np.arange(count)
    if count > MOST_COMPARED:
        rows = np.sort(np.random.default_rng(seed).choice(count, MOST_COMPARED, replace=False))
    vectors: Float32[np.ndarray, "n e"] = store.read(rows.tolist())
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1)  # a vector of zeros has the cosine 0 with everything
    hashes = np.array([store.hashes[row] for row in rows])

    histogram = np.zeros(len(COSINE_EDGES) - 1, np.int64)
    duplicates = 0
    named: list[tuple[str, str, float]] = []
    for start in range(0, len(rows), _ROWS):
        cosines = np.clip(vectors[start : start + _ROWS] @ vectors.T, -1, 1)
        here = np.arange(start, start + len(cosines))
        later = (np.arange(len(rows)) > here[:, None]) & (hashes[here][:, None] != hashes)
        histogram += np.histogram(cosines[later], COSINE_EDGES)[0]
        close = np.argwhere(later & (cosines > DUPLICATE_COSINE))
        duplicates += len(close)
        for i, j in close[: _NAMED - len(named)]:
            named.append((store.keys[rows[start + i]], store.keys[rows[j]], float(cosines[i, j])))
    return Pairs(len(rows), count, histogram, duplicates, named)


def measure_coverage(store: EmbeddingStore, files: Mapping[str, Path]) -> list[Coverage]:
    """Returns for each split which of its images a store holds, looked up by content; raises as `read_contents` does.

    A plain folder counts as one split whose name is empty.
    """
    contents = read_contents(files)
    splits: dict[str, dict[str, int | None]] = defaultdict(dict)
    for key, row in zip(contents, store.rows(list(contents.values())), strict=True):
        splits[split_of(key)][key] = row
    result = []
    for split, rows in splits.items():
        missing = [key for key, row in rows.items() if row is None]
        result.append(Coverage(split, len(rows) - len(missing), len(rows), missing))
    return result
