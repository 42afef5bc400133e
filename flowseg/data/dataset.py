"""A split of a data set: its images, masks and targets, held decoded where they fit in memory."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowseg.config import DataConfig
from flowseg.data.folders import SPLITS, Pair, find_pairs, read_image, read_label
from flowseg.data.targets import make_target
from flowseg.errors import UserError


@dataclass(frozen=True)
class Example:
    """One image, ready for use; `image`, `mask` and `target` have the working size."""

    key: str
    content: str
    """Content hash of the image as stored."""
    image: Float32[np.ndarray, "h w"]
    """Grey values in [-1, 1]."""
    mask: Bool[np.ndarray, "h w"]
    target: Float32[np.ndarray, "h w"]
    size: tuple[int, int]
    """Height and width as stored, pixels."""


def resample(image: Float32[np.ndarray, "h w"], max_side: int | None) -> Float32[np.ndarray, "h w"]:
    """The image with its longer side at most `max_side` pixels (area means); itself where it already is."""
    h, w = image.shape
    if max_side is None or max(h, w) <= max_side:
        return image
    scale = max_side / max(h, w)
    size = (max(round(w * scale), 1), max(round(h * scale), 1))
    return np.clip(cv2.resize(image, size, interpolation=cv2.INTER_AREA), -1, 1)


def load_example(pair: Pair, config: DataConfig) -> Example:
    """Reads, checks and prepares one pair."""
    image, content = read_image(pair.image)
    mask = read_label(pair.label)
    if image.shape != mask.shape:
        (h, w), (lh, lw) = image.shape, mask.shape
        raise UserError(f"{pair.label}: is {lw}x{lh} but its image is {w}x{h}; a label has its image's size")
    size = image.shape
    working = resample(image, config.max_side)
    if working.shape != size:
        mask = resample(mask.astype(np.float32), config.max_side) >= 0.5
    return Example(pair.key, content, working, mask, make_target(mask, config.target), size)


class Dataset:
    """The examples of one split, by index."""

    def __init__(self, root: Path, split: str, config: DataConfig):
        self.split = split
        self.config = config
        self.pairs = find_pairs(root, split)
        self._examples: list[Example] | None = None
        self.contents: list[str] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index] if self._examples is not None else load_example(self.pairs[index], self.config)

    def load(self, on_image: Callable[[], None] | None = None) -> None:
        """Reads every pair once, so that each mistake shows before training; keeps them if they fit in memory.

        Raises:
            UserError: the first file, in order, that does not fit.
        """
        examples: list[Example] = []
        held, limit = 0.0, self.config.cache_gib * 2**30
        with ThreadPoolExecutor(self.config.threads) as pool:
            for example in pool.map(lambda pair: load_example(pair, self.config), self.pairs):
                self.contents.append(example.content)
                self._check_crop(example)
                held += example.image.nbytes + example.mask.nbytes + example.target.nbytes
                if held <= limit:
                    examples.append(example)
                if on_image is not None:
                    on_image()
        self._examples = examples if held <= limit else None

    def _check_crop(self, example: Example) -> None:
        h, w = example.image.shape
        crop = self.config.crop
        if self.split == "train" and min(h, w) < crop:
            largest = min(h, w) // 8 * 8
            raise UserError(
                f"data.crop = {crop}: {example.key} is only {w}x{h} pixels; "
                f"choose --data.crop {largest} or less, or --preset cpu"
            )


def load_splits(
    root: Path, config: DataConfig, splits: Iterable[str] = SPLITS, on_image: Callable[[], None] | None = None
) -> dict[str, Dataset]:
    """The given splits, read and checked."""
    datasets = {split: Dataset(root, split, config) for split in splits}
    for dataset in datasets.values():
        dataset.load(on_image)
    return datasets


def shared_images(datasets: dict[str, Dataset]) -> list[tuple[str, str]]:
    """Pairs of keys in different splits whose images are the same, pixel for pixel."""
    seen: dict[str, tuple[str, str]] = {}
    shared = []
    for split, dataset in datasets.items():
        for pair, content in zip(dataset.pairs, dataset.contents, strict=True):
            if content in seen and seen[content][0] != split:
                shared.append((seen[content][1], pair.key))
            seen.setdefault(content, (split, pair.key))
    return shared
