"""Phantoms whose mask depends on something that only the embedding knows.

An image shows two vessel trees, equally visible: one darker than its surroundings (contrast agent that absorbs), one
brighter by as much. One of the two, drawn at random, is to be segmented. Nothing in the image tells which one; the
image's embedding does (flowseg.embeddings.choice). A model that uses its embedding can find the right tree; a model
that ignores it is right half of the time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from flowseg.data.image_files import content_hash
from flowseg.phantoms.angiogram import Mask, anatomy, expose, project, write_drawn
from flowseg.phantoms.tree import REFERENCE_SIZE, grow_tree

COUNTS = {"train": 120, "val": 16, "test": 40}


def draw_choice(seed: int, index: int, size: int = REFERENCE_SIZE) -> tuple[Mask, Mask, bool]:
    """Returns one image, the label (0 and 255) of the tree to segment, and whether that is the bright tree.

    A pure function of its arguments; image and label are `size` x `size`.
    """
    streams = np.random.SeedSequence([seed, index]).spawn(5)
    dark_rng, bright_rng, scene_rng, noise_rng, lot = (np.random.default_rng(stream) for stream in streams)
    bright_is_asked = bool(lot.integers(2))
    ways, labels = [], []
    for rng in (dark_rng, bright_rng):
        way, label = project(grow_tree(rng), size)
        ways.append(way)
        labels.append(label)
    # Both trees saturate in the same way; where they cross, they cancel.
    amount = scene_rng.uniform(0.06, 0.1)
    dark, bright = (0.5 * -np.expm1(-2 * np.float32(amount) * way) for way in ways)
    behind = 0.5 * anatomy(scene_rng, size)
    beam = expose(noise_rng, behind + dark - bright - np.float32(np.median(behind)))
    shown = 110 * np.maximum(beam, 1e-3)
    return np.clip(np.round(shown), 0, 255).astype(np.uint8), labels[int(bright_is_asked)], bright_is_asked


def write_choice_phantoms(
    root: Path,
    *,
    finish: Callable[[Path, list[str], list[str], list[bool]], None],
    seed: int = 0,
    size: int = REFERENCE_SIZE,
    counts: Mapping[str, int] = COUNTS,
) -> None:
    """Writes the data set as `write_drawn` does, whose errors it raises.

    `finish` is called before the folder takes its place: with the folder to add to, and with the name, content hash
    and choice (whether the bright tree is to be segmented) of every image.
    """
    drawn: dict[int, tuple[str, bool]] = {}

    def draw(index: int) -> tuple[Mask, Mask]:
        image, label, bright = draw_choice(seed, index, size)
        drawn[index] = content_hash(image), bright
        return image, label

    def tell(folder: Path, keys: list[str]) -> None:
        images = [drawn[index] for index in range(len(keys))]
        finish(folder, keys, [content for content, _ in images], [bright for _, bright in images])

    write_drawn(root, counts, draw, tell)
