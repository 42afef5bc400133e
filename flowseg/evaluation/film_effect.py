"""What the embeddings contribute to a trained FiLM network: the same images and noise under other embeddings.

Conditions differ in the embeddings or in the values of the parameters, never in shapes, so one compiled program serves
all. FiLM is switched off by zeroing a head's last layer, which makes gamma exactly 1 and beta exactly 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Float64, Int

from flowseg.data.dataset import Dataset
from flowseg.embeddings.controls import derangement
from flowseg.evaluation.arrays import Mask
from flowseg.evaluation.mask_difference import MaskDifference, mask_difference
from flowseg.evaluation.metric_table import MASK_METRICS
from flowseg.evaluation.modulation import StageModulation, modulation
from flowseg.evaluation.score import Scored, check_finite, score_split
from flowseg.evaluation.topology import Shape, topology_metrics
from flowseg.models.network import Params
from flowseg.sampling.mask import PLAIN, MaskRule
from flowseg.sampling.windows import WindowSampler

MEASURES = ("dice", *(row.key for row in MASK_METRICS if row.of_masks is topology_metrics))
"""What is measured of each image under each condition."""

OWN, OTHER, MEAN, NONE = "own", "other", "mean", "none"
MAPPED = (OTHER, NONE)
"""The conditions whose masks are compared with those of `own` pixel by pixel."""

GALLERY = 4
"""Images shown: those whose probabilities differ most between own and other."""

CHOICE_STREAM = 1  # of this analysis' own seed; 0 is that of `derangement`

Map = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Condition:
    """One way to run the network."""

    name: str
    off: tuple[int, ...]
    """Decoder stages whose FiLM is switched off."""
    embeddings: Float32[np.ndarray, "n e"]


@dataclass(frozen=True)
class Shown:
    """An image of the gallery."""

    index: int
    own: Map
    """Probabilities under the image's own embedding."""
    other: Map
    own_mask: Mask
    other_mask: Mask
    truth: Mask


@dataclass(frozen=True)
class FilmEffect:
    """All that was measured; lists over images are in the order of `keys`."""

    keys: list[str]
    conditions: list[Condition]
    partners: Int[np.ndarray, " n"]
    """For each image the one whose embedding `other` uses."""
    measures: dict[str, list[dict[str, float]]]
    """For each condition, for each image, `MEASURES`."""
    where: dict[str, list[MaskDifference]]
    """For each of `MAPPED`, for each image, where its mask differs from that of `own`."""
    maps: dict[str, Float64[np.ndarray, "h w"]]
    """For each of `MAPPED`, the mean over images of |p(own) - p(condition)|; empty where images differ in size."""
    gallery: list[Shown]
    modulation: list[StageModulation]
    programs: int
    """The number of programs that were compiled: at most 1."""

    def values(self, condition: str, measure: str) -> list[float]:
        """One measure of every image under a condition."""
        return [row[measure] for row in self.measures[condition]]


def choose(count: int, wanted: int | None, seed: int) -> list[int]:
    """Returns the indices of `wanted` images drawn by seed, ascending; all if `wanted` is None or too many."""
    if wanted is None or wanted >= count:
        return list(range(count))
    rng = np.random.default_rng([seed, CHOICE_STREAM])
    return sorted(int(i) for i in rng.choice(count, wanted, replace=False))


def conditions(
    stages: Sequence[int],
    embeddings: Float32[np.ndarray, "n e"],
    mean: Float32[np.ndarray, " e"],
    partners: Int[np.ndarray, " n"],
) -> list[Condition]:
    """Returns the conditions to compare, `own` first.

    Args:
        stages: decoder stages that have FiLM. A single one gets no condition of its own: that would repeat `none`.
        embeddings: each image's own.
        partners: for each image the one whose embedding it gets in `other`.
    """
    means = np.broadcast_to(np.asarray(mean, np.float32), embeddings.shape)
    made = [
        Condition(OWN, (), embeddings),
        Condition(OTHER, (), embeddings[partners]),
        Condition(MEAN, (), means),
        Condition(NONE, tuple(stages), embeddings),
    ]
    if len(stages) > 1:
        made += [Condition(f"no stage {s}", (s,), embeddings) for s in stages]
    return made


def condition_count(stages: Sequence[int]) -> int:
    """Returns the number of conditions for a network with FiLM in these stages."""
    return 4 + (len(stages) if len(stages) > 1 else 0)


def without_film(params: Params, stages: Sequence[int], off: Sequence[int]) -> Params:
    """Returns parameters with which the stages `off` get gamma 1 and beta 0; all other arrays are shared.

    `stages` are all decoder stages that have FiLM, in the order of the heads.
    """
    heads: dict[Any, Any] = dict(params["film"]["heads"])
    for stage, key in zip(stages, sorted(heads, key=int), strict=True):
        if stage in off:
            heads[key] = {**heads[key], "dense2": jax.tree.map(np.zeros_like, heads[key]["dense2"])}
    return {**params, "film": {**params["film"], "heads": heads}}


def measure_effect(
    sampler: WindowSampler,
    params: Params,
    images: Dataset,
    mean: Float32[np.ndarray, " e"],
    *,
    rule: MaskRule = PLAIN,
    seed: int = 0,
    on_image: Callable[[str], None] | None = None,
) -> FilmEffect:
    """Runs every condition on every image.

    The noise of an image is a function of its content and the config's seed, so it is the same under all conditions.
    Raises a ValueError if there are fewer than two images or they have no embeddings, a UserError if a prediction is
    not finite.

    Args:
        sampler: of a config with FiLM.
        mean: the mean embedding.
        rule: makes the masks of the probabilities.
        seed: seeds the derangement of `other`.
        on_image: called after each image with the condition's name.
    """
    stages = sampler.config.model.film.stages
    embeddings = images.embeddings()
    partners = derangement(len(images), seed)
    chosen = conditions(stages, embeddings, mean, partners)
    traced = sampler.traces
    measures: dict[str, list[dict[str, float]]] = {}
    compared = {name: _Compared() for name in MAPPED}
    truths: list[Shape] = []
    own: list[Scored] = []
    for condition in chosen:
        rows = []
        changed = without_film(params, stages, condition.off)
        for item in score_split(sampler, changed, images.with_embeddings(condition.embeddings), rule):
            check_finite(item.key, item.probability)
            if condition.name == OWN:
                own.append(item)
                truths.append(Shape(item.truth))
            topology = topology_metrics(Shape(item.prediction), truths[item.index])
            rows.append({"dice": item.metrics["dice"], **topology})
            if condition.name in MAPPED:
                compared[condition.name].add(own[item.index], item, truths[item.index])
            if on_image is not None:
                on_image(condition.name)
        measures[condition.name] = rows
    programs = sampler.traces - traced
    if programs > 1:
        raise RuntimeError(f"{programs} programs were compiled for {len(chosen)} conditions: they differ in shapes")
    films = jax.jit(sampler.network.film)(params, embeddings)
    return FilmEffect(
        keys=[item.key for item in own],
        conditions=chosen,
        partners=partners,
        measures=measures,
        where={name: found.where for name, found in compared.items()},
        maps={name: found for name, one in compared.items() if (found := one.mean_map()) is not None},
        gallery=[shown for _, shown in compared[OTHER].most],
        modulation=modulation([(np.asarray(g), np.asarray(b)) for g, b in films], stages),
        programs=programs,
    )


class _Compared:
    """How the predictions of a condition differ from those of `own`, collected image by image.

    Only the predictions of `own` and of the gallery are kept in memory, not those of every condition.
    """

    def __init__(self) -> None:
        self.where: list[MaskDifference] = []
        self._total = np.zeros(())
        self._shapes: set[tuple[int, ...]] = set()
        self.most: list[tuple[float, Shown]] = []
        """The images whose probabilities differ most in the mean over pixels, the most different first."""

    def add(self, own: Scored, other: Scored, truth: Shape) -> None:
        """Adds one image."""
        self.where.append(mask_difference(own.prediction, other.prediction, truth, own.fov))
        difference = np.abs(own.probability - other.probability)
        self._shapes.add(difference.shape)
        if len(self._shapes) == 1:
            self._total = self._total + difference
        if (mean := float(difference.mean())) > 0:
            masks = (own.prediction, other.prediction)
            shown = Shown(own.index, own.probability, other.probability, *masks, own.truth)
            self.most = sorted([*self.most, (mean, shown)], key=lambda found: -found[0])[:GALLERY]

    def mean_map(self) -> Float64[np.ndarray, "h w"] | None:
        """Returns the mean over images of the difference of probability; None where images differ in size."""
        return self._total / len(self.where) if len(self._shapes) == 1 else None
