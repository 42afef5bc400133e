"""A split of a data set: images, masks, targets, fields of view and embeddings, kept decoded where memory allows."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from flowseg.config import DataConfig
from flowseg.data.folders import SPLITS, Pair
from flowseg.data.folds import split_pairs
from flowseg.data.image_files import check_size, content_hash, read_fov, read_image, read_label
from flowseg.data.targets import make_target
from flowseg.errors import UserError
from flowseg.progress import task


@dataclass(frozen=True)
class NetworkInput:
    """An image as the network takes it."""

    key: str
    """Names the image in tables and files."""
    content: str
    """Content hash of the image as stored."""
    image: Float32[np.ndarray, "h w"]
    """Grey values in [-1, 1], at the working size (data.max_side)."""
    size: tuple[int, int]
    """Height and width as stored, pixels."""
    embedding: Float32[np.ndarray, " e"] | None
    """What FiLM is conditioned on; None for a network without FiLM."""


def network_input(
    key: str,
    content: str,
    image: Float32[np.ndarray, "h w"],
    embedding: Float32[np.ndarray, " e"] | None,
    max_side: int | None,
) -> NetworkInput:
    """Returns an image without a label, given in [-1, 1] at its stored size, as the network takes it."""
    return NetworkInput(key, content, resample(image, max_side), (image.shape[0], image.shape[1]), embedding)


@dataclass(frozen=True)
class Example(NetworkInput):
    """An image with its label; `mask`, `target` and `fov` have the working size."""

    mask: Bool[np.ndarray, "h w"]
    """No pixel outside the field of view is vessel."""
    target: Float32[np.ndarray, "h w"]
    fov: Bool[np.ndarray, "h w"] | None = None
    """The field of view; None if the data set has none: then every pixel counts."""
    outside: float = 0.0
    """Share of the label's vessel pixels that lay outside the field of view."""


Embed = Callable[[list[str], list[Path], list[str], str, Callable[[], None]], Float32[np.ndarray, "n e"]]
"""Returns one embedding per image, from the images' keys, files and content hashes, the data set's folder, and what
to call after each image (flowseg.embeddings.source.EmbeddingSource.vectors)."""


def resample(image: Float32[np.ndarray, "h w"], max_side: int | None) -> Float32[np.ndarray, "h w"]:
    """Returns the image with its longer side at most `max_side` pixels (area means), or itself if it already is."""
    small = image if max_side is None else shrunk(image, max_side)
    return image if small is image else np.clip(small, -1, 1)


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Returns a picture, grey or RGB, with its longer side at most `side` pixels, or itself if it already is.

    Its pixels are means over areas, of the picture's dtype.
    """
    h, w = picture.shape[:2]
    if max(h, w) <= side:
        return picture
    scale = side / max(h, w)
    size = (max(round(w * scale), 1), max(round(h * scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def mirrored(image: Float32[np.ndarray, "h w"], side: int) -> Float32[np.ndarray, "h w"]:
    """Returns the image mirrored at its lower and right border up to `side` pixels, or itself if it is as large."""
    h, w = image.shape
    if min(h, w) >= side:
        return image
    return np.pad(image, ((0, max(side - h, 0)), (0, max(side - w, 0))), mode="symmetric")


def load_example(pair: Pair, config: DataConfig) -> Example:
    """Reads, checks and prepares one pair; it carries no embedding yet."""
    image, content = read_image(pair.image, config.channel)
    mask = read_label(pair.label)
    size = image.shape
    check_size(pair.label, mask, size, "a label")
    working = resample(image, config.max_side)
    fov, outside = None, 0.0
    if pair.fov is not None:
        whole = read_fov(pair.fov)
        check_size(pair.fov, whole, size, "a field of view")
        outside = share_outside(mask, whole)
        mask &= whole
        fov = resample(whole.astype(np.float32), config.max_side) >= 0.5  # as for the label below
        if not fov.any():
            h, w = fov.shape
            raise UserError(f"{pair.fov}: is too small to be seen at {w}x{h} pixels; choose a larger data.max_side")
    coverage = resample(mask.astype(np.float32), config.max_side)
    target = make_target(coverage, config.target)
    return Example(pair.key, content, working, size, None, coverage >= 0.5, target, fov, outside)


def share_outside(mask: Bool[np.ndarray, "h w"], fov: Bool[np.ndarray, "h w"]) -> float:
    """Returns the share of a label's vessel pixels that lie outside the field of view; 0 for an empty label."""
    return int(np.count_nonzero(mask & ~fov)) / max(int(np.count_nonzero(mask)), 1)


class Dataset:
    """The examples of one split, by index.

    Args:
        root: the data set's folder.
        split: train, val or test; fold: the images that are left out of the fold's training (data.fold).
        config: how images are prepared.

    Raises:
        UserError: images and labels of the split do not fit together.
    """

    def __init__(self, root: Path, split: str, config: DataConfig):
        self.root = root
        self.split = split
        self.config = config
        self.pairs = split_pairs(root, split, config.fold)
        self.smaller = 0
        """How many images are smaller than a crop in one direction, and mirrored up to it; known once loaded."""
        self.vessel_share = 0.0
        """Share of the labels' pixels that are vessel, averaged over images; known once loaded."""
        self.outside: list[float] = []
        """For each label, the share of its vessel pixels that lies outside the field of view; known once loaded."""
        self.contents: list[str] = []
        """Content hashes of the images, once they have been loaded."""
        self._fovs: list[str] = []
        """Content hashes of the fields of view, if there are any."""
        self._targets: list[str] = []
        """Content hashes of the targets that were made from the labels."""
        self._examples: list[Example] | None = None
        self._vectors: Float32[np.ndarray, "n e"] | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        example = self._examples[index] if self._examples is not None else load_example(self.pairs[index], self.config)
        return example if self._vectors is None else replace(example, embedding=self._vectors[index])

    def load(self, embed: Embed | None = None) -> None:
        """Reads every pair once, so that each mistake shows before training, and keeps them if they fit in memory.

        Raises:
            UserError: the first file, in order, that does not fit, or an image without an embedding.
        """
        examples: list[Example] = []
        held, limit = 0.0, self.config.cache_gib * 2**30
        with ThreadPoolExecutor(self.config.threads) as pool, task(f"reading {self.split}", len(self)) as advance:
            for example, target, fov in pool.map(self._read, self.pairs):
                self.contents.append(example.content)
                self.outside.append(example.outside)
                self._targets.append(target)
                if fov is not None:
                    self._fovs.append(fov)
                self.smaller += self._is_smaller(example)
                self.vessel_share += float(example.mask.mean()) / len(self)
                arrays = (example.image, example.mask, example.target, example.fov)
                held += sum(array.nbytes for array in arrays if array is not None)
                if held <= limit:
                    examples.append(example)
                advance()
        self._examples = examples if held <= limit else None
        if embed is not None:
            keys, paths = [pair.key for pair in self.pairs], [pair.image for pair in self.pairs]
            with task(f"embeddings of {self.split}", len(self)) as advance:
                self._vectors = embed(keys, paths, self.contents, str(self.root), advance)

    def _read(self, pair: Pair) -> tuple[Example, str, str | None]:
        """Returns a pair, and the content hashes of its target and of its field of view."""
        example = load_example(pair, self.config)
        fov = content_hash(example.fov) if example.fov is not None else None
        return example, content_hash(example.target), fov

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    @property
    def has_fov(self) -> bool:
        """Whether the images have fields of view: then only the pixels inside count."""
        return self.pairs[0].fov is not None

    def truth(self, index: int) -> Bool[np.ndarray, "h w"]:
        """Returns an image's mask at its stored size; no pixel outside its field of view is vessel."""
        example = self[index]
        if example.mask.shape == example.size:
            return example.mask
        mask, fov = read_label(self.pairs[index].label), self.fov(index)
        return mask if fov is None else mask & fov

    def fov(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """Returns an image's field of view at its stored size; None if the data set has none."""
        path = self.pairs[index].fov
        if path is None:
            return None
        kept = self._examples[index] if self._examples is not None else None
        if kept is not None and kept.fov is not None and kept.fov.shape == kept.size:
            return kept.fov
        return read_fov(path)

    def embeddings(self) -> Float32[np.ndarray, "n e"]:
        """Returns the embeddings of all images.

        Raises:
            ValueError: the images carry none.
        """
        if self._vectors is None:
            raise ValueError(f"the images of {self.split} carry no embeddings")
        return self._vectors

    def with_embeddings(self, vectors: Float32[np.ndarray, "n e"]) -> "Dataset":
        """Returns the same images with other embeddings, one per image."""
        if len(vectors) != len(self):
            raise ValueError(f"{len(self)} images but {len(vectors)} embeddings")
        other = copy(self)
        other._vectors = vectors
        return other

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Returns the images at some indices, in that order."""
        part = copy(self)
        part.pairs, part.contents = [self.pairs[i] for i in indices], [self.contents[i] for i in indices]
        part._fovs = [self._fovs[i] for i in indices] if self._fovs else []
        part._targets = [self._targets[i] for i in indices]
        part._examples = None if self._examples is None else [self._examples[i] for i in indices]
        part._vectors = None if self._vectors is None else self._vectors[list(indices)]
        return part

    def digest(self) -> str:
        """Returns a hash that changes when the images, their channel, fields of view or embeddings do."""
        digest = hashlib.blake2b("".join(self.contents + self._fovs).encode(), digest_size=16)
        if self.config.channel != "luminance":
            digest.update(self.config.channel.encode())
        if self._vectors is not None:
            digest.update(np.ascontiguousarray(self._vectors).tobytes())
        return digest.hexdigest()

    def label_digest(self) -> str:
        """Returns a hash that changes when the labels do."""
        return hashlib.blake2b("".join(self._targets).encode(), digest_size=16).hexdigest()

    def whole_digest(self) -> str:
        """Returns a hash that changes when anything of the images or their labels does."""
        return f"{self.digest()}-{self.label_digest()}"

    def _is_smaller(self, example: Example) -> bool:
        """Returns whether an image is smaller than a crop; raises a UserError if it is not even half as large."""
        h, w = example.image.shape
        crop = self.config.crop
        if self.split == "train" and 2 * min(h, w) < crop:
            smaller = min(h, w) // 32 * 32 or min(h, w) // 16 * 16  # a crop that most settings take
            choice = f"choose --data.crop {smaller} or less, or " if smaller else ""
            raise UserError(f"data.crop = {crop}: {example.key} is only {w}x{h} pixels; {choice}leave the image out")
        return min(h, w) < crop


def load_splits(
    root: Path, config: DataConfig, splits: Iterable[str] = SPLITS, embed: Embed | None = None
) -> dict[str, Dataset]:
    """Returns the given splits, read and checked, with their embeddings if `embed` is given."""
    datasets = {split: Dataset(root, split, config) for split in splits}
    for dataset in datasets.values():
        dataset.load(embed)
    return datasets
