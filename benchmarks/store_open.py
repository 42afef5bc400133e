"""Measures opening a large embedding store and looking up a few hundred images in it.

    python benchmarks/store_open.py [--images 1000000] [--width 2048]

The vectors are a hole in a sparse file (half precision, read as zeros), because it only matters whether they are read.
Digests are checked as in every store.
Memory is the growth of the process's resident set.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table

from flowseg.embeddings.store import FORMAT, EmbeddingStore, row_digests, store_digest
from flowseg.embeddings.tensor_file import header

HERE = Path(__file__).resolve().parent


def write_sparse(path: Path, images: int, width: int, seed: int = 0) -> list[str]:
    """Writes a store of random content hashes and zero vectors that take no disk space; returns some hashes."""
    hashes = np.random.default_rng(seed).integers(0, 256, (images, 16), dtype=np.uint8)
    keys = np.frombuffer("\n".join(f"train/image{i:08d}" for i in range(images)).encode(), np.uint8)
    digests = row_digests(hashes, np.broadcast_to(np.float16(0), (images, width)))
    written = {"hashes": hashes, "keys": keys, "digests": digests}
    metadata = {"format": FORMAT, "encoder": "zeros", "settings": json.dumps({})}
    metadata["digest"] = store_digest(metadata, written)
    shapes = {name: (array.dtype.name, array.shape) for name, array in written.items()}
    with path.open("wb") as file:
        file.write(header({"vectors": ("float16", (images, width)), **shapes}, metadata))
        file.seek(images * width * 2, os.SEEK_CUR)
        for array in written.values():
            file.write(array.tobytes())
    return [row.tobytes().hex() for row in hashes[:: max(images // 1000, 1)]]


def resident_bytes() -> int:
    """Returns the memory of this process that is now in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--lookups", type=int, default=300, help="images looked up")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "store_open.json")
    args = parser.parse_args()
    machine = describe_machine()
    opened: list[float] = []
    found: list[float] = []
    growth: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.safetensors"
        hashes = write_sparse(path, args.images, args.width)[: args.lookups]
        size = path.stat().st_size
        names = [f"image {i}" for i in range(len(hashes))]
        for _ in range(args.turns):
            before, start = resident_bytes(), time.perf_counter()
            store = EmbeddingStore(path)
            opened.append(time.perf_counter() - start)
            start = time.perf_counter()
            assert store.vectors(names, hashes, "").shape == (len(hashes), args.width)
            found.append(time.perf_counter() - start)
            growth.append(resident_bytes() - before)
    table = Table("what", "median", "largest")
    for what, values, unit, digits in (
        ("open, s", opened, 1.0, 3),
        (f"look up {len(hashes)} images, s", found, 1.0, 3),
        ("memory growth, MB", growth, 1e6, 1),
    ):
        table.add_row(what, f"{statistics.median(values) / unit:.{digits}f}", f"{max(values) / unit:.{digits}f}")
    Console().print(f"{args.images:,} vectors of {args.width} float16, a file of {size / 1e9:.1f} GB", table)
    write_results(
        args.out,
        machine,
        images=args.images,
        width=args.width,
        file_bytes=size,
        lookups=len(hashes),
        open_s={"median": statistics.median(opened), "turns": opened},
        lookup_s={"median": statistics.median(found), "turns": found},
        resident_growth_bytes={"largest": max(growth), "turns": growth},
    )


if __name__ == "__main__":
    main()
