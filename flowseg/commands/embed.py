"""`flowseg embed`: embedding stores from images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from flowseg.commands.parsing import parse
from flowseg.errors import UserError


@dataclass(frozen=True)
class Embed:
    """Make an embedding store of a data set."""

    data: tyro.conf.Positional[Path]
    """A data set (train, val, test), or a folder of images."""
    out: Path
    """The store's file."""
    encoder: Literal["image-stats"] = "image-stats"
    """What makes the vectors."""


def embed(args: list[str]) -> None:
    """flowseg embed"""
    from flowseg.data.folders import SPLITS, find_pairs, list_images
    from flowseg.embeddings.source import IMAGE_STATS, describe_images
    from flowseg.embeddings.store import write_store
    from flowseg.progress import console, task

    parsed = parse(Embed, args, "embed")
    if not parsed.data.is_dir():
        raise UserError(f"{parsed.data}: no such folder; give a data set or a folder of images")
    splits = [split for split in SPLITS if (parsed.data / split).is_dir()]
    if splits:
        files = {pair.key: pair.image for split in splits for pair in find_pairs(parsed.data, split)}
    else:
        files = list_images(parsed.data)
    if not files:
        raise UserError(f"{parsed.data}: holds no images; give a data set or a folder of images")
    with task(parsed.encoder, len(files)) as advance:
        hashes, vectors = describe_images(list(files.values()), advance)
    write_store(parsed.out, IMAGE_STATS, list(files), hashes, vectors)
    console.print(f"{len(files)} vectors of {IMAGE_STATS}: {parsed.out}")
