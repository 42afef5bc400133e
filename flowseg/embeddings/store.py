"""The embedding store: one file with one vector per image.

A store is a safetensors file (no pickle, memory-mapped) with the tensors
    vectors  (N, E) float16 or float32
    hashes   (N, 16) uint8, the content hashes of the images (flowseg.data.folders.content_hash)
    keys     (bytes,) uint8, the names of the images joined by line feeds, for messages
and the metadata
    format    the version of this format
    encoder   the encoder's name
    settings  JSON: everything that changes the encoder's vectors
    shard     optional JSON: which part of a list of images the store holds (flowseg.embeddings.shards)
Vectors are looked up by content hash, so the images may be renamed and moved.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt64
from safetensors import SafetensorError, safe_open

from flowseg.embeddings import shards
from flowseg.embeddings.shards import Shard
from flowseg.embeddings.tensor_file import save_file
from flowseg.errors import UserError, first_of
from flowseg.files import replaced_file

FORMAT = "flowseg-embeddings-1"


@dataclass(frozen=True)
class Encoder:
    """What made a vector. Vectors are comparable only if their encoders are equal."""

    name: str
    settings: dict[str, Any]
    width: int

    def __str__(self) -> str:
        return f"{self.name} ({self.width} wide)"

    def difference(self, other: "Encoder") -> str:
        """Returns the first difference from another encoder, as `this here, that there`, or an empty string."""
        mine = {"encoder": self.name, **self.settings, "width": self.width}
        theirs = {"encoder": other.name, **other.settings, "width": other.width}
        for name in [*mine, *theirs]:
            if mine.get(name) != theirs.get(name):
                return f"{name} {mine.get(name)} here, {theirs.get(name)} there"
        return ""


def _options(encoder: Encoder) -> str:
    """Returns the options of `flowseg embed` that choose the encoder."""
    name = "shuffled:FILE" if encoder.name == "shuffled" else encoder.name
    features = encoder.settings.get("features")
    return f"--encoder {name}" + (f" --features {features}" if features else "")


def write_store(
    path: Path,
    encoder: Encoder,
    keys: Sequence[str],
    hashes: Sequence[str],
    vectors: Float[np.ndarray, "n e"],
    shard: Shard | None = None,
) -> None:
    """Writes a store, whole or not at all, and its folder; the same content gives the same bytes.

    Raises:
        UserError: a key contains a line feed, a vector is not finite, or the file cannot be written.
    """
    if vectors.shape != (len(keys), encoder.width) or len(hashes) != len(keys):
        raise ValueError(f"{len(keys)} keys, {len(hashes)} hashes, vectors {vectors.shape}, width {encoder.width}")
    for key, vector in zip(keys, vectors, strict=True):
        if "\n" in key:
            raise UserError(f"{key!r}: a file name must not contain a line feed; rename it")
        if not np.isfinite(vector).all():
            raise UserError(f"{key}: its embedding has values that are not finite; check the image and the encoder")
    tensors = {
        "vectors": np.ascontiguousarray(vectors),
        "hashes": np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(keys), 16),
        "keys": np.frombuffer("\n".join(keys).encode(), np.uint8),
    }
    metadata = {"format": FORMAT, "encoder": encoder.name, "settings": json.dumps(encoder.settings, sort_keys=True)}
    if shard is not None:
        metadata["shard"] = shards.to_json(shard)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as part:
            save_file(tensors, part, metadata)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}); choose another --out or free some space") from None


def _heads(hashes: UInt8[np.ndarray, "n 16"]) -> UInt64[np.ndarray, "n"]:
    """Returns the first half of each content hash as a number."""
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]


class EmbeddingStore:
    """A store opened for reading; vectors and names are read on demand.

    Raises:
        UserError: the file does not exist or is not a store.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such embedding store; make it with: flowseg embed DATA --out {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    remedy = "make one with: flowseg embed DATA --out FILE"
                    raise UserError(f"{path}: not a flowseg embedding store; {remedy}")
                self._hashes = file.get_tensor("hashes")
                vectors = file.get_slice("vectors")
                self.dtype: str = vectors.get_dtype()
                count, width = vectors.get_shape()
                if self._hashes.shape != (count, 16):
                    raise ValueError(f"{count} vectors, hashes {self._hashes.shape}")
            self.encoder = Encoder(metadata["encoder"], json.loads(metadata["settings"]), width)
            self.shard = shards.from_json(metadata["shard"]) if "shard" in metadata else None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be read as an embedding store ({error}); make it again") from None

    def __len__(self) -> int:
        return len(self._hashes)

    @cached_property
    def keys(self) -> list[str]:
        """Names of the images when the store was made."""
        with safe_open(self.path, framework="numpy") as file:
            return file.get_tensor("keys").tobytes().decode().split("\n") if len(self) else []

    @cached_property
    def hashes(self) -> list[str]:
        """Content hashes of the images."""
        return [row.tobytes().hex() for row in self._hashes]

    def blocks(self, rows: int = 4096) -> Iterator[Float[np.ndarray, "n e"]]:
        """Yields all vectors in order, in blocks of at most `rows`, in the type in which they are stored."""
        with safe_open(self.path, framework="numpy") as file:
            vectors = file.get_slice("vectors")
            for start in range(0, len(self), rows):
                yield vectors[start : min(start + rows, len(self))]

    def rows(self, hashes: Sequence[str]) -> list[int | None]:
        """Returns the row of each content hash, or None if the store does not hold the image."""
        if not len(hashes) or not len(self):
            return [None] * len(hashes)
        wanted = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 16)
        # NumPy finds the rows whose first half of the hash is wanted, and only these go into a dict: a dict of a
        # million rows takes half a second to build.
        heads = np.unique(_heads(wanted))
        here = _heads(self._hashes)
        near = heads[np.minimum(np.searchsorted(heads, here), len(heads) - 1)] == here
        row_of = {self._hashes[row].tobytes(): int(row) for row in np.flatnonzero(near)}
        return [row_of.get(row.tobytes()) for row in wanted]

    def read(self, rows: Sequence[int], on_row: Callable[[], None] | None = None) -> Float32[np.ndarray, "n e"]:
        """Returns the vectors of the given rows; `on_row` is called after each."""
        found = np.empty((len(rows), self.encoder.width), np.float32)
        with safe_open(self.path, framework="numpy") as file:
            vectors = file.get_slice("vectors")
            for place, row in enumerate(rows):
                found[place] = vectors[row : row + 1][0]
                if on_row is not None:
                    on_row()
        return found

    def vectors(
        self, keys: Sequence[str], hashes: Sequence[str], data: str, on_image: Callable[[], None] | None = None
    ) -> Float32[np.ndarray, "n e"]:
        """Returns the vectors of the given images, looked up by content; names and data set are for messages.

        Raises:
            UserError: the store lacks images, or images were changed after it was made.
        """
        found = self.rows(hashes)
        absent = [key for key, row in zip(keys, found, strict=True) if row is None]
        if absent:
            known = set(self.keys)
            stale = [key for key in absent if key in known]
            what = "were changed after it was made" if stale else "are not in it"
            named = stale or absent
            part = f" (it is only {self.shard} of a data set)" if self.shard and self.shard.count > 1 else ""
            raise UserError(
                f"{self.path}: {len(named)} of {len(keys)} images {what} ({first_of(named)}){part}; "
                f"make it again with: flowseg embed {data} {_options(self.encoder)} --out {self.path}"
            )
        return self.read([row for row in found if row is not None], on_image)
