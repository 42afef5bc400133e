"""Embeddings for the choice phantoms (flowseg.phantoms.choice): they tell which of two trees is to be segmented."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flowseg.embeddings.store import Encoder, write_store

STORE_NAME = "choice.safetensors"
WIDTH = 2048
# Streams of the seed for the direction that tells the trees apart, and for the noise.
_DIRECTION, _NOISE = 1, 2


def write_choice_store(
    path: Path, keys: Sequence[str], hashes: Sequence[str], bright: Sequence[bool], seed: int
) -> None:
    """Writes the store of a set of choice phantoms; `bright` says of each image whether to segment the bright tree.

    A vector is plus (bright tree) or minus (dark tree) one fixed direction, plus as much noise for each image.
    """
    direction = np.random.default_rng([seed, _DIRECTION]).standard_normal(WIDTH)
    noise = np.random.default_rng([seed, _NOISE]).standard_normal((len(bright), WIDTH))
    vectors = np.where(bright, 1.0, -1.0)[:, None] * direction + noise
    encoder = Encoder("choice", {"seed": seed, "tells": "which of the two trees is to be segmented"}, WIDTH)
    write_store(path, encoder, keys, hashes, vectors.astype(np.float32))
