"""The embedding store: one file with one vector per image.

A store is a safetensors file (no pickle, memory-mapped) with the tensors
    vectors  (N, E) float16 or float32
    hashes   (N, 16) uint8, the content hashes of the images (flowseg.data.image_files.content_hash)
    keys     (bytes,) uint8, the names of the images joined by line feeds, for messages
    digests  (N, 16) uint8, a digest of each content hash and its vector
and the metadata
    format    the version of this format
    encoder   the encoder's name
    settings  JSON: everything that changes the encoder's vectors
    shard     optional JSON: which part of a list of images the store holds (flowseg.embeddings.shards)
    digest    a digest of everything but the vectors
Vectors are looked up by content hash, so the images may be renamed and moved. `digest` is checked when a store is
opened, and the digest of a vector when that vector is read: a large store is never read as a whole for a few images.
Stores of older versions have no digests. They are read with a note.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt64
from safetensors import SafetensorError, safe_open

from flowseg.embeddings import shards
from flowseg.embeddings.encoders import command_for
from flowseg.embeddings.shards import Shard
from flowseg.embeddings.tensor_file import save_file
from flowseg.errors import UserError, first_of
from flowseg.files import replaced_file
from flowseg.progress import console

FORMAT = "flowseg-embeddings-1"
_DIGEST_BYTES = 16


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
        UserError: a key contains a line feed, a vector is not finite, or the file cannot be written or is something
            other than a store.
    """
    check_replaceable(path)
    if vectors.shape != (len(keys), encoder.width) or len(hashes) != len(keys):
        raise ValueError(f"{len(keys)} keys, {len(hashes)} hashes, vectors {vectors.shape}, width {encoder.width}")
    for key, vector in zip(keys, vectors, strict=True):
        if "\n" in key:
            raise UserError(f"{key!r}: a file name must not contain a line feed; rename it")
        if not np.isfinite(vector).all():
            raise UserError(f"{key}: its embedding has values that are not finite; check the image and the encoder")
    contents = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(keys), 16)
    tensors = {
        "vectors": np.ascontiguousarray(vectors),
        "hashes": contents,
        "keys": np.frombuffer("\n".join(keys).encode(), np.uint8),
        "digests": row_digests(contents, vectors),
    }
    metadata = {"format": FORMAT, "encoder": encoder.name, "settings": json.dumps(encoder.settings, sort_keys=True)}
    if shard is not None:
        metadata["shard"] = shards.to_json(shard)
    metadata["digest"] = store_digest(metadata, tensors)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as part:
            save_file(tensors, part, metadata)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}); choose another --out or free some space") from None


def row_digests(hashes: UInt8[np.ndarray, "n 16"], vectors: Float[np.ndarray, "n e"]) -> UInt8[np.ndarray, "n 16"]:
    """Returns a digest of each content hash and its vector, in the type in which it is stored."""
    pairs = zip(hashes, vectors, strict=True)
    digests = b"".join(_digest(content.tobytes(), vector.tobytes()) for content, vector in pairs)
    return np.frombuffer(digests, np.uint8).reshape(len(hashes), _DIGEST_BYTES)


def store_digest(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the digest of a store's metadata, content hashes, names, and digests of vectors."""
    about = json.dumps({name: text for name, text in metadata.items() if name != "digest"}, sort_keys=True)
    return _digest(about.encode(), *(tensors[name].tobytes() for name in ("hashes", "keys", "digests"))).hex()


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def check_replaceable(path: Path) -> None:
    """Raises a UserError if there is something at a path that is not a store, and would be lost."""
    if path.exists():
        try:
            EmbeddingStore(path)
        except UserError:
            raise UserError(
                f"{path}: is there and cannot be read as a store; choose another --out, or remove it"
            ) from None


def _heads(hashes: UInt8[np.ndarray, "n 16"]) -> UInt64[np.ndarray, " n"]:
    """Returns the first half of each content hash as a number."""
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64)[:, 0]


class EmbeddingStore:
    """A store opened for reading; vectors and names are read on demand.

    Raises:
        UserError: the file does not exist, is not a store, or is damaged.
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
                has_digests = "digests" in file.keys()  # noqa: SIM118 (it is no mapping)
                names = ("hashes", "keys", "digests") if has_digests else ("hashes", "keys")
                tensors = {name: file.get_tensor(name) for name in names}
                vectors = file.get_slice("vectors")
                self.dtype: str = vectors.get_dtype()
                count, width = vectors.get_shape()
            self._hashes, self._digests = tensors["hashes"], tensors.get("digests")
            for name in names:
                shape = tensors[name].shape
                if name != "keys" and shape != (count, 16):
                    raise ValueError(f"{count} vectors, {name} {shape}")
            named = np.count_nonzero(tensors["keys"] == ord("\n")) + 1 if count else 0
            if named != count:
                raise ValueError(f"{count} vectors, {named} names")
            if has_digests != ("digest" in metadata) or (
                has_digests and store_digest(metadata, tensors) != metadata["digest"]
            ):
                raise ValueError("its names or hashes do not match their digest")
            self.encoder = Encoder(metadata["encoder"], json.loads(metadata["settings"]), width)
            self.shard = shards.from_json(metadata["shard"]) if "shard" in metadata else None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be read as an embedding store ({error}); make it again") from None
        if not has_digests:
            console.print(f"NOTE: {path}: is of an older flowseg: its vectors have no digests and are not verified")

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
        """Yields all vectors in order, in blocks of at most `rows`, in the type in which they are stored.

        Raises:
            UserError: vectors of a block are damaged or not finite.
        """
        with safe_open(self.path, framework="numpy") as file:
            vectors = file.get_slice("vectors")
            for start in range(0, len(self), rows):
                stop = min(start + rows, len(self))
                block = vectors[start:stop]
                self._refuse(self._faults(range(start, stop), block), stop - start)
                yield block

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
        """Returns the vectors of the given rows; `on_row` is called after each.

        Raises:
            UserError: some of them are damaged or not finite.
        """
        found = np.empty((len(rows), self.encoder.width), np.float32)
        faults: dict[int, str] = {}
        with safe_open(self.path, framework="numpy") as file:
            vectors = file.get_slice("vectors")
            for place, row in enumerate(rows):
                vector = vectors[row : row + 1]
                faults |= self._faults([row], vector)
                found[place] = vector[0]
                if on_row is not None:
                    on_row()
        self._refuse(faults, len(rows))
        return found

    def _faults(self, rows: Sequence[int], vectors: Float[np.ndarray, "n e"]) -> dict[int, str]:
        """Returns what is wrong with the vectors of some rows, by row."""
        finite = np.isfinite(vectors).all(axis=1)
        faults = {row: "are not finite" for row, good in zip(rows, finite, strict=True) if not good}
        if self._digests is not None:
            made = row_digests(self._hashes[rows], vectors)
            wrong = (made != self._digests[rows]).any(axis=1)
            faults |= {row: "do not match their digests" for row, differs in zip(rows, wrong, strict=True) if differs}
        return faults

    def _refuse(self, faults: Mapping[int, str], read: int) -> None:
        """Raises a UserError if some of the vectors that were read are faulty."""
        if faults:
            named = first_of([self.keys[row] for row in faults])
            what = " or ".join(dict.fromkeys(faults.values()))
            raise UserError(f"{self.path}: {len(faults)} of {read} vectors {what} ({named}); {self._remedy('DATA')}")

    def _remedy(self, data: str) -> str:
        return f"make it again with: {command_for(self.encoder, data, self.path)}"

    def vectors(
        self, keys: Sequence[str], hashes: Sequence[str], data: str, on_image: Callable[[], None] | None = None
    ) -> Float32[np.ndarray, "n e"]:
        """Returns the vectors of the given images, looked up by content; names and data set are for messages.

        Raises:
            UserError: the store lacks images, images were changed after it was made, or vectors are damaged or not
                finite.
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
                f"{self._remedy(data)}"
            )
        return self.read([row for row in found if row is not None], on_image)
