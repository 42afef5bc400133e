"""The embedding store: one file with one vector per image.

A safetensors file (no pickle, memory-mapped) with the tensors
    vectors  (N, E) float16 or float32
    hashes   (N, 16) uint8, the images' content hashes (flowseg.data.folders.content_hash)
    keys     (bytes,) uint8, the images' names joined by line feeds, for messages
and the metadata `format`, `encoder` (its name) and `settings` (JSON: whatever changes its vectors).
Images are found by content: a store fits a data set however its files are called.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from flowseg.errors import UserError

FORMAT = "flowseg-embeddings-1"


@dataclass(frozen=True)
class Encoder:
    """What made a vector: two vectors may be compared only if these are equal."""

    name: str
    settings: dict[str, Any]
    width: int

    def __str__(self) -> str:
        return f"{self.name} ({self.width} wide)"


def write_store(
    path: Path, encoder: Encoder, keys: Sequence[str], hashes: Sequence[str], vectors: Float[np.ndarray, "n e"]
) -> None:
    """Writes a store, whole or not at all.

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
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UserError(f"{path}: cannot be written ({error}); choose another --out or free some space") from None


class EmbeddingStore:
    """A store opened for reading; vectors are read when asked for.

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
                self._keys = file.get_tensor("keys").tobytes().decode().split("\n")
                width = file.get_slice("vectors").get_shape()[1]
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: cannot be read as an embedding store ({error}); make it again") from None
        self.encoder = Encoder(metadata["encoder"], json.loads(metadata["settings"]), width)

    def __len__(self) -> int:
        return len(self._hashes)

    def vectors(self, keys: Sequence[str], hashes: Sequence[str], data: str) -> Float32[np.ndarray, "n e"]:
        """The vectors of the given images, found by content.

        Args:
            keys: the images' names, for messages.
            hashes: their content hashes.
            data: where the images come from, for the command in a message.

        Raises:
            UserError: images that the store does not hold, or holds in another version.
        """
        rows = {row.tobytes(): i for i, row in enumerate(self._hashes)}
        found = [rows.get(bytes.fromhex(h)) for h in hashes]
        absent = [key for key, row in zip(keys, found, strict=True) if row is None]
        if absent:
            known = set(self._keys)
            stale = [key for key in absent if key in known]
            what = "were changed after it was made" if stale else "are not in it"
            named = stale or absent
            shown = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
            raise UserError(
                f"{self.path}: {len(named)} of {len(keys)} images {what} ({shown}); "
                f"make it again with: flowseg embed {data} --encoder {self.encoder.name} --out {self.path}"
            )
        with safe_open(self.path, framework="numpy") as file:
            rows_of = file.get_slice("vectors")
            return np.stack([rows_of[row : row + 1][0] for row in found if row is not None]).astype(np.float32)
