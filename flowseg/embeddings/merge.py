"""Merging the shards of one data set into one store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flowseg.embeddings.shards import Shard
from flowseg.embeddings.store import EmbeddingStore, write_store
from flowseg.errors import UserError, first_of


def _open(paths: Sequence[Path], skip_bad: bool) -> list[tuple[EmbeddingStore, Shard]]:
    """Opens the shards and returns them in order, after checking that they belong together and are complete."""
    stores = [EmbeddingStore(path) for path in paths]
    opened: dict[int, tuple[EmbeddingStore, Shard]] = {}
    for store in stores:
        if store.shard is None:
            raise UserError(f"{store.path}: records no shard; make it with: flowseg embed --shard i/n")
    first, model = stores[0], stores[0].shard
    assert model is not None
    for store in stores:
        shard = store.shard
        assert shard is not None
        if difference := first.encoder.difference(store.encoder):
            raise UserError(
                f"{first.path} and {store.path}: were made by different encoders ({difference}); "
                "make them with the same options"
            )
        if (shard.images, shard.digest) != (model.images, model.digest):
            raise UserError(
                f"{first.path} and {store.path}: belong to different data sets ({model.images} and {shard.images} "
                "images, or other names or files); make them from the same one"
            )
        if shard.count != model.count:
            raise UserError(
                f"{first.path} and {store.path}: are {model} and {shard}; make them with the same number of shards"
            )
        if shard.index in opened:
            raise UserError(f"{opened[shard.index][0].path} and {store.path}: both are {shard}; leave one of them out")
        if len(store) + len(shard.skipped) != len(shard.places()):
            raise UserError(
                f"{store.path}: holds {len(store)} of its {len(shard.places())} images; make it again with --shard "
                f"{shard.index}/{shard.count}"
            )
        if shard.skipped and not skip_bad:
            raise UserError(
                f"{store.path}: lacks the images {first_of([key for _, key in shard.skipped])}, which could not be "
                "read; make it again, or merge with --skip-bad"
            )
        opened[shard.index] = store, shard
    missing = [f"{i}/{model.count}" for i in range(1, model.count + 1) if i not in opened]
    if missing:
        raise UserError(
            f"{len(stores)} of {model.count} shards are given, missing {first_of(missing)}; give all of them"
        )
    return [opened[index] for index in sorted(opened)]


def merge(paths: Sequence[Path], out: Path, skip_bad: bool = False) -> tuple[int, list[str]]:
    """Writes the store that a single run over the whole list would have written, bit for bit.

    Args:
        paths: the shards' files, in any order.
        out: the merged store.
        skip_bad: accept shards that have skipped images.

    Returns:
        The number of vectors, and the names of the skipped images.

    Raises:
        UserError: the shards differ in encoder, data set or number of shards, overlap, or are incomplete.
    """
    if not paths:
        raise UserError("no stores to merge; give the files of the shards")
    opened = _open(paths, skip_bad)
    rows: list[tuple[int, int, int]] = []  # place in the list, number of the shard, row in the shard
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
        raise UserError(f"{first_of(twice)}: is in two of the shards; make them again from the same data set")
    where = {(number, row): i for i, (_, number, row) in enumerate(rows)}
    whole, shard = opened[0]
    vectors = np.empty((len(rows), whole.encoder.width), {"F16": np.float16, "F32": np.float32}[whole.dtype])
    for number, (store, _) in enumerate(opened):
        if store.dtype != whole.dtype:
            raise UserError(
                f"{whole.path} and {store.path}: hold {whole.dtype} and {store.dtype}; make them with one type"
            )
        done = 0
        for block in store.blocks():
            vectors[[where[number, done + i] for i in range(len(block))]] = block
            done += len(block)
    hashes = [opened[number][0].hashes[row] for _, number, row in rows]
    one = replace(shard, index=1, count=1, skipped=tuple(skipped))
    write_store(out, whole.encoder, keys, hashes, vectors, one)
    return len(rows), [key for _, key in skipped]
