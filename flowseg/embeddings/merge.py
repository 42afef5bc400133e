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
    given: list[tuple[EmbeddingStore, Shard]] = []
    for store in map(EmbeddingStore, paths):
        if store.shard is None:
            raise UserError(f"{store.path}: records no shard; make it with: flowseg embed --shard i/n")
        given.append((store, store.shard))
    first, model = given[0]
    opened: dict[int, tuple[EmbeddingStore, Shard]] = {}
    for store, shard in given:
        both = f"{first.path} and {store.path}"
        if difference := first.encoder.difference(store.encoder):
            raise UserError(f"{both}: were made by different encoders ({difference}); make them with the same options")
        if (shard.images, shard.digest) != (model.images, model.digest):
            raise UserError(
                f"{both}: belong to different data sets ({model.images} and {shard.images} "
                "images, or other names or files); make them from the same one"
            )
        if shard.count != model.count:
            raise UserError(f"{both}: are {model} and {shard}; make them with the same number of shards")
        if shard.index in opened:
            raise UserError(f"{opened[shard.index][0].path} and {store.path}: both are {shard}; leave one of them out")
        if len(store) + len(shard.skipped) != len(shard.places()):
            part = f"{len(store)} of its {len(shard.places())} images"
            raise UserError(f"{store.path}: holds {part}; make it again with --shard {shard.index}/{shard.count}")
        if shard.skipped and not skip_bad:
            names = first_of([key for _, key in shard.skipped])
            remedy = "make it again, or merge with --skip-bad"
            raise UserError(f"{store.path}: lacks the images {names}, which could not be read; {remedy}")
        opened[shard.index] = store, shard
    if missing := [f"{i}/{model.count}" for i in range(1, model.count + 1) if i not in opened]:
        there = f"{len(given)} of {model.count} shards"
        raise UserError(f"{there} are given, missing {first_of(missing)}; give all of them")
    return [opened[index] for index in sorted(opened)]


def merge(paths: Sequence[Path], out: Path, skip_bad: bool = False) -> tuple[int, list[str]]:
    """Writes the store that a single run over the whole list would have written.

    With the default --batch it is the same bit for bit. In larger batches a vector depends on the other images by
    rounding, and those are others in a shard.

    Returns the number of vectors, and the names of the images that the shards skipped.

    Raises:
        UserError: the shards differ in encoder, data set or number of shards, overlap, are incomplete, or (without
            `skip_bad`) have skipped images.
    """
    if not paths:
        raise UserError("no stores to merge; give the files of the shards")
    opened = _open(paths, skip_bad)
    first, shard = opened[0]
    skipped = sorted(item for _, each in opened for item in each.skipped)
    left_out = {place for place, _ in skipped}
    held = [place for place in range(shard.images) if place not in left_out]
    row_at = {place: row for row, place in enumerate(held)}  # rows of the merged store

    keys, hashes = [""] * len(held), [""] * len(held)
    vectors = np.empty((len(held), first.encoder.width), {"F16": np.float16, "F32": np.float32}[first.dtype])
    for store, each in opened:
        if store.dtype != first.dtype:
            both = f"{first.path} and {store.path}"
            raise UserError(f"{both}: hold {first.dtype} and {store.dtype}; make them with one type")
        rows = [row_at[place] for place in each.places() if place in row_at]
        for row, key, content in zip(rows, store.keys, store.hashes, strict=True):
            keys[row], hashes[row] = key, content
        done = 0
        for block in store.blocks():
            vectors[rows[done : done + len(block)]] = block
            done += len(block)
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise UserError(f"{first_of(twice)}: is in two of the shards; make them again from the same data set")
    write_store(out, first.encoder, keys, hashes, vectors, replace(shard, index=1, count=1, skipped=tuple(skipped)))
    return len(held), [key for _, key in skipped]
