"""What the command's tests share: the configs, what a call left behind, and ways to spoil a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from flowseg.embeddings.source import describe_images
from flowseg.embeddings.store import Encoder, write_store

REPO = Path(__file__).parents[2]
BASELINE, FILM = REPO / "configs" / "baseline.py", REPO / "configs" / "vlm_film.py"
# What makes a config small enough for the tiny data.
SMALL = ("--data.crop", "32", "--train.batch", "4")


@dataclass
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


Flowseg = Callable[..., Outcome]


def first(data: Path, kind: str, split: str = "train") -> Path:
    """The first image or label of a split."""
    return min((data / split / kind).iterdir())


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def wide_store(path: Path, data: Path, width: int) -> Path:
    """A store of vectors of another width for the images of a data set."""
    files = sorted(data.glob("*/image/*"))
    hashes, _ = describe_images(files)
    keys = [f"{f.parent.parent.name}/{f.stem}" for f in files]
    write_store(path, Encoder("narrow", {}, width), keys, hashes, np.zeros((len(keys), width), np.float32))
    return path
