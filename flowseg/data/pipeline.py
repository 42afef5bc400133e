"""Training batches by Grain; each is a pure function of (seed, step)."""

from collections.abc import Iterator

import grain
import numpy as np

from flowseg.bounds import MOST_STEPS, require
from flowseg.config import Config, TargetKind
from flowseg.data.augment import random_example
from flowseg.data.dataset import Dataset
from flowseg.data.targets import restore_target

Batch = dict[str, np.ndarray]
# Stream of the seed tree (see training.step).
DATA_STREAM = 2
_PREFETCH = 8
_PASSES = 2**32
"""Over the images: more than any training takes. Batches of one of an endless list would have no length in Grain."""


def steps_per_epoch(config: Config, images: int) -> int:
    """Returns the number of steps of an epoch: `train.epoch_steps`, or enough for `data.crops_per_image` crops of each
    training image."""
    return config.train.epoch_steps or -(-images * config.data.crops_per_image // config.train.batch)


def total_steps(config: Config, images: int) -> int:
    """Returns the number of steps of a run.

    Raises:
        UserError: there are more than a state can count.
    """
    steps = config.train.epochs * steps_per_epoch(config, images)
    what = f"train.epochs = {config.train.epochs}, with {steps_per_epoch(config, images):,} steps in each"
    require(steps <= MOST_STEPS, what, f"must give at most {MOST_STEPS:,} steps (they are counted in 32 bits)")
    return steps


def half_size_steps(config: Config, images: int) -> int:
    """Returns how many of a run's steps, the first ones, train on crops of half their side."""
    total = total_steps(config, images)
    return min(round(config.train.half_size_share * total), total - 1)


def training_batches(config: Config, dataset: Dataset, host: int = 0, hosts: int = 1) -> grain.MapDataset:
    """Returns an endless list of batches: element `step` is what step `step` trains on.

    Of several hosts each gets its own rows only; together they have the rows that one host would have, in that order.

    Each pass over the images is a new permutation. A batch holds image and target (B, C, C, 1) and, where the examples
    have them, embedding (B, E) and weight (B, C, C, 1): 1 inside the field of view, else 0. All are float32.
    The maps of the first `half_size_steps` batches have half of these sides.
    """

    def crop(index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        example = dataset[index]
        maps = random_example(example.image, example.target, config.data, rng, example.fov)
        condition = {} if example.embedding is None else {"embedding": example.embedding}
        # Without a field of view there are two maps, and no weight.
        return {name: m[..., None] for name, m in zip(("image", "target", "weight"), maps, strict=False)} | condition

    seed = int(np.random.SeedSequence([config.seed, DATA_STREAM]).generate_state(1)[0] % 2**31)
    examples = grain.MapDataset.range(len(dataset)).seed(seed).shuffle().repeat(_PASSES).random_map(crop)
    batches = examples.batch(config.train.batch // hosts)[host::hosts]
    first = half_size_steps(config, len(dataset))
    if not first:
        return batches
    return batches.map_with_index(lambda step, batch: halved(batch, config.data.target) if step < first else batch)


def halved(batch: Batch, target: TargetKind) -> Batch:
    """Returns a batch whose maps are scaled down to half their sides, by the means of 2x2 pixels."""

    def scaled(maps: np.ndarray) -> np.ndarray:
        b, h, w, c = maps.shape
        return maps.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))

    small = {name: values if name == "embedding" else scaled(values) for name, values in batch.items()}
    small["target"] = restore_target(small["target"], target)
    if "weight" in small:
        small["weight"] = (small["weight"] >= 0.5).astype(np.float32)
    return small


def iterate(batches: grain.MapDataset, start: int, stop: int, threads: int) -> Iterator[Batch]:
    """Yields batches start, start + 1, ..., stop - 1, prepared ahead by threads."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=_PREFETCH)
    return iter(batches[start:stop].to_iter_dataset(options))
