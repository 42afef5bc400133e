"""Shards: which part of a list of images a store holds."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from flowseg.errors import UserError, counted
from flowseg.files import parse_json


@dataclass(frozen=True)
class Shard:
    """Every count-th image of a list, beginning with image `index` (counted from 1)."""

    index: int
    """1 to count."""
    count: int
    """Number of shards; with 1 the store holds the whole list."""
    images: int
    """Images in the whole list."""
    digest: str
    """Hash of the names and file sizes of the whole list."""
    skipped: tuple[tuple[int, str], ...] = ()
    """Place and name of each image that could not be read and was left out."""

    def __str__(self) -> str:
        return f"shard {self.index}/{self.count}"

    def places(self) -> range:
        """Returns the places of this shard's images in the whole list, counted from 0."""
        return range(self.index - 1, self.images, self.count)


def parse_shard(text: str) -> tuple[int, int]:
    """Returns i and n of a text i/n.

    Raises:
        UserError: the text has another form, or i is not between 1 and n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: give i/n with i from 1 to n, for example 1/4")
    return int(match[1]), int(match[2])


def shard_of(files: Mapping[str, Path], index: int, count: int) -> Shard:
    """Returns a shard of a list of images, given by name.

    Raises:
        UserError: there are more shards than images.
    """
    if count > len(files):
        raise UserError(
            f"--shard {index}/{count}: for only {counted(len(files), 'image')}; use at most as many shards"
        )
    listing = "\n".join(f"{key}\0{path.stat().st_size}" for key, path in files.items())
    return Shard(index, count, len(files), hashlib.blake2b(listing.encode(), digest_size=16).hexdigest())


def to_json(shard: Shard) -> str:
    """Returns a shard as JSON."""
    return json.dumps(asdict(shard))


def from_json(text: str) -> Shard:
    """Returns the shard that `to_json` wrote; other text raises ValueError, TypeError or KeyError."""
    values = parse_json(text)
    skipped = tuple((int(place), str(key)) for place, key in values.pop("skipped"))
    return Shard(**values, skipped=skipped)
