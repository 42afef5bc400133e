"""Data ready for training or scoring: the images of a config's splits, each with its embedding."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flowseg.config import Config
from flowseg.data.check.findings import implausible_coverage, shared_between_splits
from flowseg.data.dataset import Dataset, load_splits
from flowseg.data.folders import SPLITS
from flowseg.data.folds import FOLD
from flowseg.embeddings.source import EmbeddingSource
from flowseg.embeddings.store import Encoder
from flowseg.errors import UserError
from flowseg.phantoms.default import data_root, root_of
from flowseg.progress import console, warn
from flowseg.runs.folder import Run


@dataclass(frozen=True)
class Prepared:
    """The loaded splits of a data set."""

    root: Path
    datasets: dict[str, Dataset]
    encoder: Encoder | None
    """What made the embeddings; None for a network without FiLM."""


def prepare(config: Config, splits: Iterable[str] | None = None) -> Prepared:
    """Reads and checks every image of the splits, and finds its embedding where the network takes one.

    `splits`: None means all that the config has.
    """
    if splits is None:
        splits = SPLITS if config.data.fold is None else (*SPLITS, FOLD)
    source = embedding_source(config)
    root = data_root(config.data)
    datasets = load_splits(root, config.data, splits, source.vectors if source is not None else None)
    contents = {
        pair.key: content
        for dataset in datasets.values()
        for pair, content in zip(dataset.pairs, dataset.contents, strict=True)
    }
    found = [shared_between_splits(contents)]
    found += [implausible_coverage(d.split, d.vessel_share, d.pairs[0].label.parent) for d in datasets.values()]
    doubts = [finding for finding in found if finding is not None]
    for doubt in doubts:
        warn(doubt.message)
    if doubts:
        console.print(f"more about this data: flowseg data check {root}")
    if fields := [split for split, dataset in datasets.items() if dataset.has_fov]:
        console.print(f"NOTE: only pixels inside the field of view count ({', '.join(fields)})")
    for dataset in datasets.values():
        if any(dataset.outside):
            count, most = np.count_nonzero(dataset.outside), int(np.argmax(dataset.outside))
            warn(
                f"labels of {dataset.split} have vessels outside the field of view, which do not count: {count} of "
                f"{len(dataset)} labels, most of all {dataset.pairs[most].label} ({dataset.outside[most]:.2%} of its "
                "vessel pixels)"
            )
    if "train" in datasets and (smaller := datasets["train"].smaller):
        side = f"{config.data.crop}x{config.data.crop}"
        console.print(f"NOTE: training images smaller than a crop of {side} ({smaller}) are mirrored up to it")
    return Prepared(root, datasets, source.encoder if source is not None else None)


def embedding_source(config: Config) -> EmbeddingSource | None:
    """Returns where the config's embeddings come from; None for a network without FiLM."""
    if not config.model.film.stages:
        return None
    return EmbeddingSource(config.embeddings.store, config.model.film.embedding_width)


def embedding_source_for(run: Run, config: Config) -> EmbeddingSource | None:
    """Returns where the config's embeddings come from, of the encoder that the run was trained on; None without FiLM.

    Raises:
        UserError: the store cannot be read, or its vectors come from another encoder.
    """
    source = embedding_source(config)
    check_encoder(run, source.encoder if source is not None else None)
    return source


def is_own_data(config: Config, data: str | None) -> bool:
    """Returns whether a data set that is asked for is the config's own, by whatever path; None asks for its own."""
    return data is None or Path(data).resolve() == root_of(config.data).resolve()


def with_sources(config: Config, data: str | None, embeddings: str | None) -> Config:
    """Returns the config with another data set or embedding store, where one is given.

    Another data set has no images that this run was trained on, so it has no fold of it.
    """
    if data is not None:
        fold = config.data.fold if is_own_data(config, data) else None
        config = replace(config, data=replace(config.data, root=data, fold=fold))
    if embeddings is not None:
        config = replace(config, embeddings=replace(config.embeddings, store=embeddings))
    return config


def prepare_for(run: Run, config: Config, splits: Iterable[str]) -> Prepared:
    """Loads splits of the config's data set, with embeddings of the encoder that the run was trained on."""
    if run.exported is not None and config.data.root is None:
        raise UserError(f"{run.path}: is an exported model without images of its own; name a data set with --data")
    splits = tuple(splits)
    if FOLD in splits and run.config.data.fold is not None and config.data.fold is None:
        raise UserError(
            f"--split {FOLD}: {run.path} was trained on a fold of another data set than {config.data.root}; choose "
            "train, val or test of it"
        )
    prepared = prepare(config, splits)
    check_encoder(run, prepared.encoder)
    return prepared


def check_encoder(run: Run, encoder: Encoder | None) -> None:
    """Raises a UserError if embeddings come from another encoder than those that the run was trained on."""
    if run.encoder is not None and encoder is not None and run.encoder != encoder:
        raise UserError(
            f"{run.path}: was trained on {run.encoder} embeddings, these are from {encoder} "
            f"({encoder.difference(run.encoder)}); use a store made like the run's"
        )
