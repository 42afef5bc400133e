"""Shards of one data set into one store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flowseg.embeddings.shards import Shard
from flowseg.embeddings.store import EmbeddingStore, write_store
from flowseg.errors import UserError, first_of


def _open(paths: Sequence[Path], skip_bad: bool) -> list[tuple[EmbeddingStore, Shard]]:
    """The shards, in order of their numbers, once it is sure that they make up one whole."""
    stores = [EmbeddingStore(path) for path in paths]
    opened: dict[int, tuple[EmbeddingStore, Shard]] = {}
    for store in stores:
        if store.shard is None:
            raise UserError(f"{store.path}: does not say which shard it is; make it with: flowseg embed --shard i/n")
    first, model = stores[0], stores[0].shard
    assert model is not None
    for store in stores:
        shard = store.shard
        assert shard is not None
        if difference := first.encoder.difference(store.encoder):
            raise UserError(
                f"{first.path} and {store.path}: from different encoders ({difference}); "
                "make them with the same options"
            )
        if (shard.images, shard.digest) != (model.images, model.digest):
            raise UserError(
                f"{first.path} and {store.path}: of different data sets ({model.images} and {shard.images} images, "
                "or other names or files); make them from the same one"
            )
        if shard.count != model.count:
            raise UserError(
                f"{first.path} and {store.path}: {model} and {shard}; make them with the same number of shards"
            )
        if shard.index in opened:
            raise UserError(f"{opened[shard.index][0].path} and {store.path}: both are {shard}; leave one out")
        if len(store) + len(shard.skipped) != len(shard.places()):
            raise UserError(
                f"{store.path}: holds {len(store)} of its {len(shard.places())} images; make it again with --shard "
                f"{shard.index}/{shard.count}"
            )
        if shard.skipped and not skip_bad:
            raise UserError(
                f"{store.path}: without the images {first_of([key for _, key in shard.skipped])}, which could not be "
                "read; make it again, or merge with --skip-bad"
            )
        opened[shard.index] = store, shard
    missing = [f"{i}/{model.count}" for i in range(1, model.count + 1) if i not in opened]
    if missing:
        raise UserError(f"{len(stores)} of {model.count} shards: missing {first_of(missing)}; give all of them")
    return [opened[index] for index in sorted(opened)]


def merge(paths: Sequence[Path], out: Path, skip_bad: bool = False) -> tuple[int, list[str]]:
    """Writes the store that one run over the whole list would have written, to the last bit.

    Args:
        paths: the shards' files, in any order.
        out: the merged store.
        skip_bad: accept that images are missing which the shards skipped.

    Returns:
        The number of vectors, and the names of the skipped images.

    Raises:
        UserError: the shards are of different encoders, data sets or numbers of shards, overlap, or leave a hole.
    """
    if not paths:
        raise UserError("no stores to merge; name the shards' files")
    opened = _open(paths, skip_bad)
    rows: list[tuple[int, int, int]] = []  # place in the list, shard, row in it
    skipped: list[tuple[int, str]] = []
    for number, (_, shard) in enumerate(opened):
        left_out = {place for place, _ in shard.skipped}
        places = [place for place in shard.places() if place not in left_out]
        rows += [(place, number, row) for row, place in enumerate(places)]
        skipped += shard.skipped
    rows.sort()
    skipped.sort()

    keys = [opened[number][0].keys[row] for _, number, row in rows]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise UserError(f"{first_of(twice)}: in two of the shards; make them again from the same data set")
    where = {(number, row): i for i, (_, number, row) in enumerate(rows)}
    whole, shard = opened[0]
    vectors = np.empty((len(rows), whole.encoder.width), {"F16": np.float16, "F32": np.float32}[whole.dtype])
    for number, (store, _) in enumerate(opened):
        if store.dtype != whole.dtype:
            raise UserError(f"{whole.path} and {store.path}: {whole.dtype} and {store.dtype}; make them alike")
        done = 0
        for block in store.blocks():
            vectors[[where[number, done + i] for i in range(len(block))]] = block
            done += len(block)
    hashes = [opened[number][0].hashes[row] for _, number, row in rows]
    one = replace(shard, index=1, count=1, skipped=tuple(skipped))
    write_store(out, whole.encoder, keys, hashes, vectors, one)
    return len(rows), [key for _, key in skipped]
