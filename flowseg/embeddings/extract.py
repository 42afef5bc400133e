"""Embeds images into a store. Finished vectors are kept in OUT.parts, so that an interrupted run can go on."""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from flowseg.embeddings.images import LoadedImage, load_images
from flowseg.embeddings.shards import Shard
from flowseg.embeddings.store import EmbeddingStore, Encoder, check_replaceable, write_store
from flowseg.errors import UserError, counted
from flowseg.machine import check_memory
from flowseg.progress import task

GROUP_IMAGES = 64
GROUP_SECONDS = 30.0
"""Vectors are written after this many images or seconds; a kill loses at most these."""


class Encoding(Protocol):
    """An encoder at work."""

    encoder: Encoder
    batch: int
    """Images per call of `encode`."""
    keeps_parts: bool
    """Whether an interrupted run keeps finished vectors. They must depend on the image alone, but for rounding that
    differs with the other images of a batch."""

    def encode(self, images: Sequence[LoadedImage]) -> Float[np.ndarray, "n e"]:
        """Returns one vector per image, for 1 to `batch` images."""
        ...


@dataclass(frozen=True)
class Extracted:
    """The outcome of an extraction."""

    images: int
    """Vectors in the store."""
    reused: int
    """How many of them were made by an earlier, interrupted run."""
    skipped: list[str]
    """For each image that was left out, why it could not be read."""


class Parts(AbstractContextManager["Parts"]):
    """The finished vectors of a run, kept as small stores in OUT.parts; leaving the block writes the new ones."""

    def __init__(self, out: Path, encoding: Encoding):
        self.folder = out.with_name(f"{out.name}.parts")
        self.vectors: dict[str, np.ndarray] = {}
        """Vectors by content hash."""
        self.keys: set[str] = set()
        """Names of the images that an earlier run has finished."""
        self._encoder, self._writes = encoding.encoder, encoding.keeps_parts
        self._new: list[tuple[str, str]] = []
        self._since = time.monotonic()
        for file in sorted(self.folder.glob("*.safetensors")) if self._writes else []:
            try:
                part = EmbeddingStore(file)
                vectors = part.read(range(len(part)))
            except (UserError, FileNotFoundError):
                if not file.exists():  # another run has written the same store, and removed its parts
                    continue
                raise UserError(f"{file}: is damaged; delete it to embed its images again") from None
            if part.encoder != self._encoder:
                raise UserError(
                    f"{self.folder}: holds the vectors of another encoder ({part.encoder.difference(self._encoder)}); "
                    "delete the folder or choose another --out"
                )
            self.vectors.update(zip(part.hashes, vectors, strict=True))
            self.keys.update(part.keys)

    def add(self, keys: Sequence[str], images: Sequence[LoadedImage], vectors: Float[np.ndarray, "n e"]) -> None:
        """Adds the vectors of a batch, and writes to disk if a group is full or old enough."""
        for key, image, vector in zip(keys, images, vectors, strict=True):
            self.vectors[image.content] = vector
            self._new.append((key, image.content))
        if len(self._new) >= GROUP_IMAGES or time.monotonic() - self._since >= GROUP_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the vectors that are not on disk yet."""
        if self._new and self._writes:
            keys, hashes = zip(*self._new, strict=True)
            # The name is random because two runs may write the same store at once, and process ids repeat.
            file = self.folder / f"{secrets.token_hex(8)}.safetensors"
            write_store(file, self._encoder, keys, hashes, np.stack([self.vectors[h] for h in hashes]))
        self._new.clear()
        self._since = time.monotonic()

    def remove(self) -> None:
        """Deletes the folder, once the store is written."""
        if self._writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *error: object) -> None:
        self.flush()


def check_writable(out: Path) -> None:
    """Raises a UserError if the file cannot be written or is no store, before hours are spent on its content."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give --out the name of a file")
    check_replaceable(out)
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "is not writable" if folder.is_dir() else "is not a folder"
        raise UserError(f"{out}: cannot be written ({folder} {reason}); choose another --out")


def extract(
    files: Mapping[str, Path],
    encoding: Encoding,
    out: Path,
    shard: Shard,
    *,
    skip_bad: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Extracted:
    """Embeds the images of a shard and writes the store, going on where an earlier call was interrupted.

    `files` are the images of all shards by name. `check` is called after each batch; it raises to interrupt the work.

    Raises:
        UserError: an image cannot be read (without `skip_bad`), OUT.parts holds the vectors of another encoder, or the
            disk is full. Finished vectors stay in OUT.parts.
    """
    check_writable(out)
    keys = list(files)
    mine = [(keys[place], files[keys[place]]) for place in shard.places()]
    width = encoding.encoder.width
    # In float32, one by one and then as one array.
    needed = 2 * 4 * width * len(mine)
    check_memory(needed, f"{counted(len(mine), 'vector')} of {width} numbers", "make more shards, with --shard i/n")
    rows: list[tuple[str, str]] = []
    skipped: list[tuple[int, str]] = []
    reasons: list[str] = []
    batch: list[tuple[str, LoadedImage]] = []

    with (
        Parts(out, encoding) as parts,
        task(encoding.encoder.name, len(mine), sum(key in parts.keys for key, _ in mine)) as advance,
    ):
        earlier = set(parts.vectors)

        def encode() -> None:
            if batch:
                names, images = zip(*batch, strict=True)
                parts.add(names, images, encoding.encode(images))
                advance(len(batch))
                batch.clear()
                check()

        for place, (key, loaded) in zip(shard.places(), load_images(mine), strict=True):
            if isinstance(loaded, UserError):
                if not skip_bad:
                    encode()
                    raise UserError(f"{loaded} (or go on without it: --skip-bad)")
                skipped.append((place, key))
                reasons.append(str(loaded))
                advance(1)
                continue
            rows.append((key, loaded.content))
            if loaded.content in earlier:
                continue
            if loaded.content in parts.vectors or any(loaded.content == image.content for _, image in batch):
                advance(1)  # the same image under another name
                continue
            batch.append((key, loaded))
            if len(batch) == encoding.batch:
                encode()
        encode()

    if not rows:
        raise UserError(f"none of the images can be read; the first error is: {reasons[0]}")
    names, hashes = zip(*rows, strict=True)
    vectors = np.stack([parts.vectors[content] for content in hashes])
    try:
        write_store(out, encoding.encoder, names, hashes, vectors, replace(shard, skipped=tuple(skipped)))
    except UserError as error:
        kept = f"; finished vectors stay in {parts.folder}" if encoding.keeps_parts else ""
        raise UserError(f"{error}{kept}") from None
    parts.remove()
    return Extracted(len(rows), sum(content in earlier for content in hashes), reasons)
