"""Phantoms whose right mask depends on something that only the embedding knows.

An image shows two vessel trees, equally visible: one darker than its surroundings (contrast agent that absorbs), one
brighter by as much. One of them, drawn by lot, is to be segmented. Nothing in the image tells which; the image's
embedding does. A model that reads its embedding can find it; one that does not is right half of the time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from flowseg.data.folders import content_hash
from flowseg.embeddings.store import Encoder, write_store
from flowseg.errors import UserError
from flowseg.phantoms.angiogram import REFERENCE_SIZE, anatomy, expose, write_drawn
from flowseg.phantoms.tree import add_tube, grow_tree

COUNTS = {"train": 120, "val": 16, "test": 40}
STORE_NAME = "choice.safetensors"
# Stream of the seed tree for the direction that tells the trees apart.
_DIRECTION = 1


def draw_choice(
    seed: int, index: int, size: int = REFERENCE_SIZE
) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"], bool]:
    """One image, the label in {0, 255} of the tree to be segmented, and whether that is the bright one.

    A pure function of its arguments.
    """
    streams = np.random.SeedSequence([seed, index]).spawn(5)
    dark_rng, bright_rng, scene_rng, noise_rng, lot = (np.random.default_rng(stream) for stream in streams)
    bright_is_asked = bool(lot.integers(2))
    ways, labels = [], []
    for rng in (dark_rng, bright_rng):
        way, label = np.zeros((size, size), np.float32), np.zeros((size, size), np.uint8)
        for tube in grow_tree(rng).tubes:
            add_tube(tube, way, label)
        ways.append(way)
        labels.append(label)
    # Levelled off as in the plain phantoms, alike for both; where they cross, they cancel.
    amount = scene_rng.uniform(0.06, 0.1)
    dark, bright = (0.5 * -np.expm1(-2 * np.float32(amount) * way) for way in ways)
    behind = 0.5 * anatomy(scene_rng, size)
    beam = expose(noise_rng, behind + dark - bright - np.float32(np.median(behind)))
    shown = 110 * np.maximum(beam, 1e-3)
    return np.clip(np.round(shown), 0, 255).astype(np.uint8), labels[int(bright_is_asked)], bright_is_asked


def telling_vectors(asked: list[bool], width: int, seed: int) -> Float32[np.ndarray, "n e"]:
    """Embeddings that tell which tree is asked for: plus or minus one fixed direction, and as much noise per image."""
    direction = np.random.default_rng([seed, _DIRECTION]).standard_normal(width)
    noise = np.random.default_rng([seed, _DIRECTION + 1]).standard_normal((len(asked), width))
    signs = np.where(asked, 1.0, -1.0)[:, None]
    return (signs * direction + noise).astype(np.float32)


def write_choice_phantoms(
    root: Path,
    *,
    seed: int = 0,
    size: int = REFERENCE_SIZE,
    counts: Mapping[str, int] = COUNTS,
    width: int = 2048,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Writes the data set (see `write_drawn`) with the store of its embeddings in it; returns the store's file.

    Raises:
        UserError: ROOT exists.
    """
    if root.exists():
        raise UserError(f"{root}: exists already; choose another folder, or remove it")
    told: dict[int, tuple[str, bool]] = {}

    def draw(index: int) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"]]:
        image, label, asked = draw_choice(seed, index, size)
        told[index] = content_hash(image), asked
        return image, label

    def add_store(folder: Path) -> None:
        splits = [split for split, count in counts.items() for _ in range(count)]
        keys = [f"{split}/{index:04d}" for index, split in enumerate(splits)]
        hashes, asked = zip(*(told[index] for index in range(len(keys))), strict=True)
        encoder = Encoder("choice", {"seed": seed, "tells": "which of the two trees is to be segmented"}, width)
        write_store(folder / STORE_NAME, encoder, keys, hashes, telling_vectors(list(asked), width, seed))

    write_drawn(root, counts, draw, finish=add_store, on_image=on_image)
    return root / STORE_NAME
