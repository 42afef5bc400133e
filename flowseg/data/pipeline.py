"""Batches by Grain: each is a pure function of (seed, step)."""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from jaxtyping import Float32

from flowseg.config import Config
from flowseg.data.augment import random_example
from flowseg.data.dataset import Dataset

Batch = dict[str, np.ndarray]
# Stream of the seed tree (see training.step).
DATA_STREAM = 2
_PREFETCH = 8


def steps_per_epoch(config: Config, images: int) -> int:
    """Steps that show every training image once; the last batch is filled up from the next epoch."""
    return config.train.epoch_steps or -(-images // config.train.batch)


def training_batches(
    config: Config, dataset: Dataset, embeddings: Float32[np.ndarray, "n e"] | None
) -> grain.MapDataset:
    """An endless list of batches: element `step` is what step `step` trains on, whoever asks and in what order.

    Each pass over the images is a new permutation. A batch holds image and target (B, C, C, 1) and, with FiLM,
    embedding (B, E), row i that of image i; all float32.
    """

    def example(index: int, rng: np.random.Generator) -> dict[str, Any]:
        item = dataset[index]
        image, target = random_example(item.image, item.target, config.data, rng)
        made = {"image": image[..., None], "target": target[..., None]}
        if embeddings is not None:
            made["embedding"] = embeddings[index]
        return made

    seed = int(np.random.SeedSequence([config.seed, DATA_STREAM]).generate_state(1)[0] % 2**31)
    examples = grain.MapDataset.range(len(dataset)).seed(seed).shuffle().repeat().random_map(example)
    return examples.batch(config.train.batch)


def iterate(batches: grain.MapDataset, start: int, stop: int, threads: int) -> Iterator[Batch]:
    """Batches start, start + 1, ..., stop - 1, prepared ahead by threads."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_PREFETCH)
    return iter(batches[start:stop].to_iter_dataset(options))
