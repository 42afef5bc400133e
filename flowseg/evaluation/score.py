"""Scoring a data set's split: every image against its label at its stored size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32

from flowseg.data.dataset import Example
from flowseg.data.folders import Pair, read_label
from flowseg.evaluation.metrics import Interval, bootstrap_mean
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.models.network import Params
from flowseg.sampling.segment import segment
from flowseg.sampling.windows import Query, WindowSampler

FIXED = 0.5
"""The probability above which a pixel is vessel: where a sample, a map in [-1, 1], crosses 0."""

Embeddings = Float32[np.ndarray, "n e"]


class Examples(Protocol):
    """What can be scored: a split (flowseg.data.dataset.Dataset), or some of its images."""

    @property
    def pairs(self) -> list[Pair]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class Scored:
    """One image's prediction and scores."""

    key: str
    index: int
    probability: Float32[np.ndarray, "h w"]
    truth: Bool[np.ndarray, "h w"]
    metrics: dict[str, float]
    """Of overlap only: they cost next to nothing, so that validation can score often."""
    threshold: float
    uncertainty: Float32[np.ndarray, "h w"] | None
    """Of an ensemble, as is the expected error."""
    expected_error: float | None

    @property
    def prediction(self) -> Bool[np.ndarray, "h w"]:
        return self.probability > self.threshold


def score_split(
    sampler: WindowSampler,
    params: Params,
    dataset: Examples,
    embeddings: Embeddings | None,
    on_image: Callable[[Scored], None] | None = None,
    threshold: float = FIXED,
) -> list[Scored]:
    """Predicts every image of a split and scores its overlap, in order."""
    examples = [dataset[i] for i in range(len(dataset))]
    queries = [
        Query(example.image, example.content, None if embeddings is None else embeddings[i])
        for i, example in enumerate(examples)
    ]
    scored = []
    for i, found in enumerate(segment(sampler, params, queries, [example.size for example in examples])):
        truth = examples[i].mask if examples[i].mask.shape == examples[i].size else read_label(dataset.pairs[i].label)
        overlap, expected = overlap_metrics(found.probability > threshold, truth), found.expected_error(threshold)
        # Without the samples: of all images together they would take much memory.
        scored.append(
            Scored(examples[i].key, i, found.probability, truth, overlap, threshold, found.uncertainty, expected)
        )
        if on_image is not None:
            on_image(scored[-1])
    return scored


def mean_metrics(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of the overlap metrics over images."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def intervals(rows: Sequence[Mapping[str, float | None]], seed: int = 0) -> dict[str, Interval]:
    """Means of every metric over the images that have it, with bootstrap 95 % intervals.

    `n` says how many images that are; where none has it, the mean is nan.
    """
    found = {}
    for name in rows[0]:
        values = [value for row in rows if (value := row[name]) is not None]
        nothing = Interval(mean=float("nan"), low=float("nan"), high=float("nan"), n=0)
        found[name] = bootstrap_mean(values, seed=seed) if values else nothing
    return found
