"""The embedding store: one file with one vector per image.

A safetensors file (no pickle, memory-mapped) with the tensors
    vectors  (N, E) float16 or float32
    hashes   (N, 16) uint8, the images' content hashes (flowseg.data.folders.content_hash)
    keys     (bytes,) uint8, the images' names joined by line feeds, for messages
and the metadata `format`, `encoder` (its name), `settings` (JSON: whatever changes its vectors) and `shard` (JSON,
optional: which part of which list of images it holds, flowseg.embeddings.shards).
Images are found by content: a store fits a data set however its files are called.
"""

import json
from collections.abc import Iterator, Sequence
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
    """What made a vector: two vectors may be compared only if these are equal."""

    name: str
    settings: dict[str, Any]
    width: int

    def __str__(self) -> str:
        return f"{self.name} ({self.width} wide)"

    def difference(self, other: "Encoder") -> str:
        """In what another encoder differs, as `this here, that there`; empty if in nothing."""
        mine = {"encoder": self.name, **self.settings, "width": self.width}
        theirs = {"encoder": other.name, **other.settings, "width": other.width}
        for name in [*mine, *theirs]:
            if mine.get(name) != theirs.get(name):
                return f"{name} {mine.get(name)} here, {theirs.get(name)} there"
        return ""


def _options(encoder: Encoder) -> str:
    """The encoder as options of `flowseg embed`."""
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
    """Writes a store, whole or not at all; the same content gives the same bytes.

    Raises:
        UserError: a key with a line feed, vectors that are not finite, or a folder that cannot be written.
    """
    if vectors.shape != (len(keys), encoder.width) or len(hashes) != len(keys):
        raise ValueError(f"{len(keys)} keys, {len(hashes)} hashes, vectors {vectors.shape}, width {encoder.width}")
    for key, vector in zip(keys, vectors, strict=True):
        if "\n" in key:
            raise UserError(f"{key!r}: a file name with a line feed cannot be stored; rename it")
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
    """The first half of each content hash as a number."""
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]


class EmbeddingStore:
    """A store opened for reading; vectors and names are read when asked for.

    Raises:
        UserError: no such file, or not a store.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such embedding store; make it with: flowseg embed DATA --out {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise UserError(
                        f"{path}: not a flowseg embedding store; make one with: flowseg embed DATA --out FILE"
                    )
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
        """The images' names when the store was made."""
        with safe_open(self.path, framework="numpy") as file:
            return file.get_tensor("keys").tobytes().decode().split("\n") if len(self) else []

    @cached_property
    def hashes(self) -> list[str]:
        """The images' content hashes."""
        return [row.tobytes().hex() for row in self._hashes]

    def blocks(self, rows: int = 4096) -> Iterator[Float[np.ndarray, "n e"]]:
        """All vectors in order as they are stored, a block of rows at a time."""
        with safe_open(self.path, framework="numpy") as file:
            vectors = file.get_slice("vectors")
            for start in range(0, len(self), rows):
                yield vectors[start : min(start + rows, len(self))]

    def rows(self, hashes: Sequence[str]) -> list[int | None]:
        """The row of each content hash, None where the store holds no such image."""
        if not len(hashes) or not len(self):
            return [None] * len(hashes)
        wanted = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 16)
        # Half a hash is searched in numpy, the few rows that have it go into a dict: a dict of a million rows
        # takes half a second to make.
        heads = np.unique(_heads(wanted))
        here = _heads(self._hashes)
        near = heads[np.minimum(np.searchsorted(heads, here), len(heads) - 1)] == here
        row_of = {self._hashes[row].tobytes(): int(row) for row in np.flatnonzero(near)}
        return [row_of.get(row.tobytes()) for row in wanted]

    def read(self, rows: Sequence[int]) -> Float32[np.ndarray, "n e"]:
        """The vectors of the given rows."""
        found = np.empty((len(rows), self.encoder.width), np.float32)
        with safe_open(self.path, framework="numpy") as file:
            vectors = file.get_slice("vectors")
            for place, row in enumerate(rows):
                found[place] = vectors[row : row + 1][0]
        return found

    def vectors(self, keys: Sequence[str], hashes: Sequence[str], data: str) -> Float32[np.ndarray, "n e"]:
        """The vectors of the given images, found by content.

        Args:
            keys: the images' names, for messages.
            hashes: their content hashes.
            data: where the images come from, for the command in a message.

        Raises:
            UserError: images that the store does not hold, or holds in another version.
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
        return self.read([row for row in found if row is not None])
