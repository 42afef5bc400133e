"""Helpers of the embedding tests: a folder of small images, and an encoder that records its work."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from flowseg.embeddings.extract import Encoding, Extracted, extract
from flowseg.embeddings.images import LoadedImage, find_images
from flowseg.embeddings.shards import shard_of
from flowseg.embeddings.store import Encoder


class Counting:
    """Encodes an image by its mean and size, records which images it got, and stops after `stop_at` of them."""

    keeps_parts = True

    def __init__(self, batch: int = 1, version: int = 1, stop_at: int | None = None):
        self.encoder = Encoder("counting", {"version": version}, 3)
        self.batch = batch
        self.stop_at = stop_at
        self.seen: list[str] = []

    def encode(self, images: Sequence[LoadedImage]) -> np.ndarray:
        assert 1 <= len(images) <= self.batch
        if self.stop_at is not None and len(self.seen) >= self.stop_at:
            raise KeyboardInterrupt
        self.seen += [image.path.stem for image in images]
        return np.array([[image.grey.mean(), *image.grey.shape] for image in images], np.float32)


def write_images(folder: Path, count: int, seed: int = 0, sizes: Sequence[tuple[int, int]] = ((20, 24),)) -> Path:
    """Writes a folder of different images, a00.png, a01.png and so on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, sizes[i % len(sizes)], dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"a{i:02d}.png")
    return folder


def run(
    data: Path, encoding: Encoding, out: Path, index: int = 1, count: int = 1, skip_bad: bool = False
) -> Extracted:
    """Does what `flowseg embed` does."""
    files = find_images(data)
    return extract(files, encoding, out, shard_of(files, index, count), skip_bad=skip_bad)
