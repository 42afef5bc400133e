"""Conditions of the FiLM analysis: what they are, and that a real network answers them as it should."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from flowseg.config import Config, DataConfig, EvalConfig, FilmConfig, ModelConfig
from flowseg.data.dataset import Dataset, Example
from flowseg.data.folders import Pair
from flowseg.evaluation.film_effect import (
    MEASURES,
    FilmEffect,
    choose,
    condition_count,
    conditions,
    derangement,
    measure_effect,
    without_film,
)
from flowseg.evaluation.mask_difference import mask_difference
from flowseg.evaluation.score import score_split
from flowseg.evaluation.topology import Shape
from flowseg.models.network import Network, Params, init_params
from flowseg.sampling.mask import MaskRule
from flowseg.sampling.windows import WindowSampler

CROP, WIDTH, STAGES = 16, 4, (0, 1)


class InMemory(Dataset):
    """Examples without files: noise for images, discs for masks."""

    def __init__(self, shapes: list[tuple[int, int]]):
        self.split = "test"
        self.pairs = [Pair(f"test/{i}", Path(), Path()) for i in range(len(shapes))]
        self.contents = [f"{i + 1:032x}" for i in range(len(shapes))]
        self._fovs, self._targets = [], list(self.contents)
        self._vectors = None
        self._examples = []
        for i, shape in enumerate(shapes):
            image = np.random.default_rng(i).uniform(-1, 1, shape).astype(np.float32)
            mask = np.hypot(*np.ogrid[: shape[0], : shape[1]]) < 9 + i
            target = mask.astype(np.float32)
            self._examples.append(Example(f"test/{i}", self.contents[i], image, shape, None, mask, target))


def config(stages: tuple[int, ...] = STAGES) -> Config:
    film = FilmConfig(stages=stages, embedding_width=WIDTH, condition_width=8, hidden_width=8)
    return Config(
        model=ModelConfig(dim=8, multipliers=(1, 1), heads=1, head_dim=8, full_attention_levels=(1,), film=film),
        data=DataConfig(crop=CROP),
        eval=EvalConfig(sampler="euler", steps=1, window_batch=3),
    )


def sensitive_params(settings: Config) -> Params:
    """Fresh parameters whose FiLM heads answer to the embedding."""
    params = init_params(settings)
    rng = np.random.default_rng(5)
    for head in params["film"]["heads"].values():
        head["dense2"] = {k: rng.normal(0, 1, v.shape).astype(np.float32) for k, v in head["dense2"].items()}
    return params


EMBEDDINGS = np.random.default_rng(9).normal(0, 1, (4, WIDTH)).astype(np.float32)
IMAGES = InMemory([(24, 16), (24, 16), (24, 16), (24, 16)]).with_embeddings(EMBEDDINGS)
MEAN = EMBEDDINGS.mean(axis=0)
RULE = MaskRule(threshold=0.4, min_component=6)


@pytest.fixture(scope="module")
def measured() -> tuple[FilmEffect, list[str]]:
    told: list[str] = []
    settings = config()
    effect = measure_effect(
        WindowSampler(settings), sensitive_params(settings), IMAGES, MEAN, rule=RULE, seed=1, on_image=told.append
    )
    return effect, told


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_derangement_leaves_nothing_in_its_place(count: int) -> None:
    for seed in range(20):
        partners = derangement(count, seed)
        assert sorted(partners) == list(range(count))
        assert (partners != np.arange(count)).all()
    np.testing.assert_array_equal(derangement(count, 3), derangement(count, 3))
    with pytest.raises(ValueError, match="two or more"):
        derangement(1, 0)


def test_choosing_takes_that_many_images_in_order() -> None:
    assert choose(5, None, 0) == choose(5, 9, 0) == [0, 1, 2, 3, 4]
    chosen = choose(50, 10, 0)
    assert chosen == sorted(set(chosen)) and len(chosen) == 10 and chosen[-1] < 50
    assert choose(50, 10, 0) == chosen != choose(50, 10, 1)
    some = IMAGES.subset([1, 3])
    assert len(some) == 2 and [pair.key for pair in some.pairs] == ["test/1", "test/3"] == [e.key for e in some]
    np.testing.assert_array_equal([e.embedding for e in some], EMBEDDINGS[[1, 3]])


def test_conditions_give_each_image_the_vector_they_say() -> None:
    partners = derangement(4, 0)
    made = {c.name: c for c in conditions(STAGES, EMBEDDINGS, MEAN, partners)}
    assert list(made) == ["own", "other", "mean", "none", "no stage 0", "no stage 1"]
    assert len(made) == condition_count(STAGES)
    np.testing.assert_array_equal(made["own"].embeddings, EMBEDDINGS)
    for i in range(4):
        np.testing.assert_array_equal(made["other"].embeddings[i], EMBEDDINGS[partners[i]])
        np.testing.assert_array_equal(made["mean"].embeddings[i], MEAN)
    assert made["none"].off == STAGES and made["no stage 1"].off == (1,) and made["own"].off == ()
    assert len(conditions((2,), EMBEDDINGS, MEAN, partners)) == condition_count((2,)) == 4


def test_switching_off_is_gamma_one_and_beta_zero_in_that_stage_only() -> None:
    settings = config()
    params = sensitive_params(settings)
    before = jax.tree.map(np.copy, params)
    network = WindowSampler(settings).network
    whole = network.film(params, jax.numpy.asarray(EMBEDDINGS))
    for off, left in ((0, 1), (1, 0)):
        films = network.film(without_film(params, STAGES, (off,)), jax.numpy.asarray(EMBEDDINGS))
        gamma, beta = films[STAGES.index(off)]
        assert (np.asarray(gamma) == 1).all() and (np.asarray(beta) == 0).all()
        np.testing.assert_array_equal(films[left][0], whole[left][0])
        assert np.abs(np.asarray(films[left][0]) - 1).max() > 0.1
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_none_is_the_network_without_an_embedding(measured: tuple[FilmEffect, list[str]]) -> None:
    """The same velocities as with embedding None, and the scores of a network that never had FiLM."""
    settings = config()
    params, network = sensitive_params(settings), WindowSampler(settings).network
    rng = np.random.default_rng(0)
    x, image = (jax.numpy.asarray(rng.normal(0, 1, (4, CROP, CROP, 1)), np.float32) for _ in range(2))
    t = jax.numpy.full(4, 0.3)
    velocity = jax.jit(network.apply)
    plain = velocity(params, x, t, image, None)
    off = velocity(without_film(params, STAGES, STAGES), x, t, image, EMBEDDINGS)
    np.testing.assert_allclose(off, plain, rtol=0, atol=1e-6)
    assert np.abs(velocity(params, x, t, image, EMBEDDINGS) - plain).max() > 1e-2

    base = config(())
    scored = score_split(WindowSampler(base), {k: v for k, v in params.items() if k != "film"}, IMAGES, RULE)
    effect, _ = measured
    assert effect.values("none", "dice") == [s.metrics["dice"] for s in scored]
    assert effect.values("own", "dice") != effect.values("none", "dice")


def test_own_is_the_split_s_score_and_one_program_serves_all(measured: tuple[FilmEffect, list[str]]) -> None:
    effect, told = measured
    settings = config()
    scored = score_split(WindowSampler(settings), sensitive_params(settings), IMAGES, RULE)
    assert effect.values("own", "dice") == [s.metrics["dice"] for s in scored]
    assert effect.programs == 1
    names = [c.name for c in effect.conditions]
    assert told == [name for name in names for _ in range(4)]
    assert effect.keys == [f"test/{i}" for i in range(4)]
    for name in names:
        assert [set(row) for row in effect.measures[name]] == [set(MEASURES)] * 4


def test_masks_of_own_and_other_are_compared_image_by_image(measured: tuple[FilmEffect, list[str]]) -> None:
    effect, _ = measured
    settings = config()
    params, sampler = sensitive_params(settings), WindowSampler(settings)
    own = list(score_split(sampler, params, IMAGES, RULE))
    other = list(score_split(sampler, params, IMAGES.with_embeddings(EMBEDDINGS[derangement(4, 1)]), RULE))
    expected = [mask_difference(a.prediction, b.prediction, Shape(a.truth)) for a, b in zip(own, other, strict=True)]
    assert effect.where["other"] == expected and any(row.differing for row in expected)
    distances = [np.abs(a.probability - b.probability) for a, b in zip(own, other, strict=True)]
    np.testing.assert_allclose(effect.maps["other"], np.mean(distances, axis=0), atol=1e-7)
    shown = [distances[s.index].mean() for s in effect.gallery]
    assert shown == sorted(shown, reverse=True) and len(shown) == 4
    for s in effect.gallery:
        np.testing.assert_array_equal(s.own_mask, own[s.index].prediction)
        np.testing.assert_array_equal(s.other_mask, other[s.index].prediction)
    assert any((s.own_mask != (s.own > 0.5)).any() for s in effect.gallery)


def test_equal_embeddings_make_no_difference() -> None:
    settings = config()
    same = np.repeat(MEAN[None], 3, axis=0)
    images = InMemory([(24, 16), (16, 30), (20, 20)]).with_embeddings(same)
    effect = measure_effect(WindowSampler(settings), sensitive_params(settings), images, MEAN)
    assert effect.values("own", "dice") == effect.values("other", "dice") == effect.values("mean", "dice")
    assert not any(row.differing for row in effect.where["other"])
    assert effect.gallery == [] and effect.maps == {}  # nothing to show; no map of images of several sizes
    assert [stage.gamma.share for stage in effect.modulation] == [0, 0]


def test_a_changed_shape_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second program for the same network means that conditions differ in more than values."""
    settings = replace(config(), eval=EvalConfig(sampler="euler", steps=1, window_batch=3))
    sampler = WindowSampler(settings)

    def wider(params: Params, stages: object, off: tuple[int, ...]) -> Params:
        return {**params, "step": {"value": np.zeros(())}} if off else params

    monkeypatch.setattr("flowseg.evaluation.film_effect.without_film", wider)
    monkeypatch.setattr(Network, "apply", lambda self, params, x, t, image, embedding: image)
    with pytest.raises(RuntimeError, match="2 programs"):
        measure_effect(sampler, sensitive_params(settings), IMAGES, MEAN)


def test_embeddings_that_are_not_the_images_are_refused() -> None:
    with pytest.raises(ValueError, match="4 images but 3 embeddings"):
        IMAGES.with_embeddings(EMBEDDINGS[:3])
    with pytest.raises(ValueError, match="carry no embeddings"):
        measure_effect(WindowSampler(config()), {}, InMemory([(24, 16), (24, 16)]), MEAN)
