"""Shards: which part of which list of images a store holds."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowseg.errors import UserError


@dataclass(frozen=True)
class Shard:
    """The images at the places index - 1, index - 1 + count, ... of a list."""

    index: int
    """1 to count."""
    count: int
    """Into how many shards the list is cut; 1: the store holds all of it."""
    images: int
    """Length of the whole list."""
    digest: str
    """Fingerprint of the whole list: its names and file sizes."""
    skipped: tuple[tuple[int, str], ...] = field(default=())
    """Place and name of images that could not be read and were left out."""

    def __str__(self) -> str:
        return f"shard {self.index}/{self.count}"

    def places(self) -> range:
        """Where this shard's images stand in the whole list, counted from 0."""
        return range(self.index - 1, self.images, self.count)


def parse_shard(text: str) -> tuple[int, int]:
    """The i and n of i/n.

    Raises:
        UserError: it is not of that form, or i is not one of 1 to n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: give i/n with i from 1 to n, for example 1/4")
    return int(match[1]), int(match[2])


def shard_of(files: Mapping[str, Path], index: int, count: int) -> Shard:
    """The shard of a list of images by name.

    Raises:
        UserError: there are more shards than images.
    """
    if count > len(files):
        raise UserError(f"--shard {index}/{count}: there are only {len(files)} images; use at most as many shards")
    listing = "\n".join(f"{key}\0{path.stat().st_size}" for key, path in files.items())
    return Shard(index, count, len(files), hashlib.blake2b(listing.encode(), digest_size=16).hexdigest())


def to_json(shard: Shard) -> str:
    return json.dumps(
        {
            "index": shard.index,
            "count": shard.count,
            "images": shard.images,
            "digest": shard.digest,
            "skipped": [list(item) for item in shard.skipped],
        }
    )


def from_json(text: str) -> Shard:
    """What `to_json` wrote; ValueError, TypeError or KeyError for anything else."""
    values = json.loads(text)
    skipped = tuple((int(place), str(key)) for place, key in values.pop("skipped"))
    return Shard(**values, skipped=skipped)
