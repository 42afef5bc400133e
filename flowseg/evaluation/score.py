"""Scoring a data set's split: every image against its label at its stored size."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from flowseg import hosts
from flowseg.data.dataset import Dataset
from flowseg.errors import UserError
from flowseg.evaluation.arrays import Probability, pixels_inside
from flowseg.evaluation.metrics import Interval, bootstrap_mean
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.models.network import Params
from flowseg.sampling.mask import PLAIN, MaskRule
from flowseg.sampling.segment import Segmentation, segment
from flowseg.sampling.windows import WindowSampler


@dataclass(frozen=True)
class Scored:
    """One image's prediction and scores. Outside the field of view nothing is vessel, and nothing is scored."""

    key: str
    index: int
    probability: Float32[np.ndarray, "h w"]
    truth: Bool[np.ndarray, "h w"]
    fov: Bool[np.ndarray, "h w"] | None
    """None if the data set has no fields of view."""
    metrics: dict[str, float]
    """The overlap metrics only: they are cheap, so that validation can score often."""
    prediction: Bool[np.ndarray, "h w"]
    """The mask."""
    uncertainty: Float32[np.ndarray, "h w"] | None
    """Each pixel's entropy in bits; None for a single sample."""


def own_images(dataset: Dataset) -> Dataset:
    """Returns the images of a split that this process segments: all, unless it is one of several (flowseg.hosts)."""
    return dataset.subset(hosts.own_part(len(dataset))) if hosts.count() > 1 else dataset


def score_split(sampler: WindowSampler, params: Params, dataset: Dataset, rule: MaskRule = PLAIN) -> Iterator[Scored]:
    """Yields the prediction and overlap of every image of a split, in order; `rule` makes the masks."""
    return score(segment(sampler, params, dataset), dataset, rule)


def score(segmentations: Iterable[Segmentation], dataset: Dataset, rule: MaskRule = PLAIN) -> Iterator[Scored]:
    """Yields each segmentation with its overlap; there is one per image of the split, in order, whatever made it."""
    for i, found in enumerate(segmentations):
        truth, fov = dataset.truth(i), dataset.fov(i)
        found = found.inside(fov)
        prediction = rule.mask(found.probability, fov)
        masks = (pixels_inside(mask, fov) for mask in (prediction, truth))
        # The samples themselves are not passed on: those of all images would take much memory.
        yield Scored(
            key=dataset.pairs[i].key,
            index=i,
            probability=found.probability,
            truth=truth,
            fov=fov,
            metrics=overlap_metrics(*masks),
            prediction=prediction,
            uncertainty=found.uncertainty,
        )


def check_finite(key: str, probability: Probability) -> None:
    """Raises a UserError if the prediction for an image is not finite."""
    if not np.isfinite(probability).all():
        raise UserError(
            f"{key}: the network's prediction is not finite; its parameters are damaged or diverged: train again "
            "(or, with eval.sampler = dopri5, the tolerance is out of reach: take a larger eval.tolerance)"
        )


def mean_metrics(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the means of the overlap metrics over images."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def intervals(rows: Sequence[Mapping[str, float | None]], seed: int = 0) -> dict[str, Interval]:
    """Returns the mean of every metric over the images that have it, with its bootstrap 95 % interval.

    If no image has it, the mean is nan.
    """
    nan = float("nan")
    found = {}
    for name in rows[0]:
        values = [value for row in rows if (value := row[name]) is not None]
        found[name] = bootstrap_mean(values, seed=seed) if values else Interval(nan, nan, nan, n=0)
    return found
