"""Writing safetensors files whose bytes depend only on their content.

The library's own writer puts the metadata in random order, so that two files with the same content differ. The format:
8 bytes with the length of a JSON header, the header, then the tensors one after the other.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_DTYPES = {"float16": "F16", "float32": "F32", "uint8": "U8"}
_ALIGNMENT = 8


def header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """Returns all bytes before the tensors, which are given by numpy dtype and shape, in order."""
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for name, (dtype, shape) in tensors.items():
        stop = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
        entries[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def save_file(tensors: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file with contiguous arrays of float16, float32 or uint8, in their order."""
    with path.open("wb") as file:
        file.write(header({name: (array.dtype.name, array.shape) for name, array in tensors.items()}, metadata))
        for array in tensors.values():
            file.write(memoryview(array).cast("B") if array.size else b"")
