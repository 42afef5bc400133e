"""Several samples of an image, and the eight views of a sample: what is averaged, and what it costs."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from stub_network import CROP, QUERIES, SHAPES, StubSampler, config, noise_of, query, single

from flowseg.config import Family
from flowseg.models.network import init_params
from flowseg.sampling.views import VIEWS, make_view, undo_view
from flowseg.sampling.windows import WindowSampler


def turns(x: np.ndarray) -> list[np.ndarray]:
    """The flips and quarter turns of a square, by numpy."""
    return [np.rot90(y, k) for y in (x, x[:, ::-1]) for k in range(4)]


def as_batch(x: np.ndarray) -> np.ndarray:
    return np.tile(x[None, :, :, None], (VIEWS, 1, 1, 1))


def test_the_views_are_the_flips_and_quarter_turns() -> None:
    square = np.arange(25.0).reshape(5, 5)
    views = np.asarray(make_view(as_batch(square), np.arange(VIEWS)))[..., 0]
    np.testing.assert_array_equal(views[0], square)
    assert {view.tobytes() for view in views} == {turn.astype(np.float32).tobytes() for turn in turns(square)}
    assert len({view.tobytes() for view in views}) == 8


def test_each_view_is_undone() -> None:
    squares = np.random.default_rng(0).random((VIEWS, 6, 6, 2)).astype(np.float32)
    there = make_view(squares, np.arange(VIEWS))
    np.testing.assert_array_equal(undo_view(there, np.arange(VIEWS)), squares)
    assert not np.array_equal(undo_view(there, np.zeros(VIEWS, int)), squares)


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("tta", [False, True])
def test_each_sample_starts_from_noise_of_its_own(stub: StubSampler, batch: int, tta: bool) -> None:
    """Where the sample is the noise, sample k is the image's noise number k, put together from its windows."""
    sampler = stub(lambda x, image, embedding: x, overlap=0.5, seed=5, batch=batch, ensemble=3, tta=tta)
    found = list(sampler.samples({}, QUERIES))
    assert len(found) == len(QUERIES) and sampler.traces == 1
    for samples, one in zip(found, QUERIES, strict=True):
        height, width = one.image.shape
        assert samples.shape == (3, height, width) and samples.dtype == np.float32
        for k, sample in enumerate(samples):
            noise = noise_of(one.content, 5, (max(height, CROP), max(width, CROP)), k)[:height, :width]
            np.testing.assert_allclose(sample, np.clip((noise + 1) / 2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("family", ["gaussian", "binary"])
def test_a_network_s_samples_nest(family: Family) -> None:
    """A real network, with FiLM: sample 0 of an ensemble is the single sample, the others are others."""
    settings = config(family=family, film=True)
    params = init_params(settings)
    queries = [query(i, shape, value=float(i)) for i, shape in enumerate(SHAPES[:4])]
    alone = list(single(WindowSampler(settings), queries, params))
    sampler = WindowSampler(config(family=family, film=True, ensemble=3))
    for samples, one in zip(sampler.samples(params, queries), alone, strict=True):
        np.testing.assert_allclose(samples[0], one, atol=1e-5)
        for other in (samples[0], samples[1]):
            assert np.abs(samples[2] - other).max() > 1e-3
    assert sampler.traces == 1


def test_an_image_s_samples_come_in_one_call_and_fill_their_batches(stub: StubSampler) -> None:
    """Eight samples of one window, batches of three: three batches, not eight, all within one compiled program."""
    sampler = stub(lambda x, image, embedding: x, ensemble=8, batch=3)
    calls, draw = [], sampler.program
    sampler.program = lambda *args: calls.append(1) or draw(*args)  # type: ignore[func-returns-value]
    next(sampler.samples({}, [query(0, (CROP, CROP))]))
    assert (len(calls), sampler.traces, sampler.evaluations) == (1, 1, [1.0] * 3)
    # A larger image has several windows: the same program, as many evaluations as it needs.
    sampler.evaluations.clear()
    next(sampler.samples({}, [query(1, (CROP, 40))]))  # 3 windows
    assert (sampler.traces, sum(sampler.evaluations)) == (1, 8)


@pytest.mark.parametrize(
    ("ensemble", "tta", "evaluations"), [(1, False, 1), (5, False, 5), (1, True, 8), (5, True, 40)]
)
def test_what_they_cost(stub: StubSampler, ensemble: int, tta: bool, evaluations: int) -> None:
    """A window takes ensemble x 8 views evaluations of a one-step sampler."""
    sampler = stub(lambda x, image, embedding: x, ensemble=ensemble, tta=tta, batch=1)
    next(sampler.samples({}, [query(0, (CROP, CROP))]))
    assert sum(sampler.evaluations) == evaluations


@pytest.mark.parametrize("ensemble", [1, 2])
def test_views_change_nothing_where_the_network_does_not_see_them(stub: StubSampler, ensemble: int) -> None:
    """A sample that is a function of each pixel's noise and grey value alone, of images of any shape."""
    plain, turned = (
        stub(lambda x, image, embedding: image * jnp.abs(x), ensemble=ensemble, tta=tta) for tta in (False, True)
    )
    for a, b in zip(plain.samples({}, QUERIES), turned.samples({}, QUERIES), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("batch", "ensemble"), [(3, 1), (8, 1), (20, 1), (3, 2), (8, 4)])
def test_views_are_made_undone_and_averaged(stub: StubSampler, batch: int, ensemble: int) -> None:
    """A sample that looks one pixel up in the image and two to the left in the noise."""

    def look(x: Any, image: Any) -> Any:
        xp = np if isinstance(x, np.ndarray) else jnp
        return (xp.roll(image, 1, axis=-3) + xp.roll(x, 2, axis=-2) / 4) / 2

    one = query(3, (CROP, CROP))
    noise = noise_of(one.content, 0, (CROP, CROP))
    seen = [look(x[..., None], y[..., None])[..., 0] for x, y in zip(turns(noise), turns(one.image), strict=True)]
    # numpy's own way back: the turn among the eight that puts a numbered square right.
    numbered = np.arange(CROP * CROP).reshape(CROP, CROP)
    back = []
    for sample, turned in zip(seen, turns(numbered), strict=True):
        (right,) = (k for k, again in enumerate(turns(turned)) if np.array_equal(again, numbered))
        back.append(turns(np.clip((sample + 1) / 2, 0, 1))[right])
    sampler = stub(lambda x, image, embedding: look(x, image), tta=True, batch=batch, ensemble=ensemble)
    found = next(sampler.samples({}, [one]))[0]
    np.testing.assert_allclose(found, np.mean(back, axis=0), atol=1e-6)
    assert np.abs(found - back[0]).max() > 0.1


@pytest.mark.parametrize(("ensemble", "tta"), [(3, False), (1, True), (2, True)])
def test_every_view_of_every_sample_gets_its_image_s_embedding(stub: StubSampler, ensemble: int, tta: bool) -> None:
    queries = [replace(one, embedding=np.full(4, i / 10, np.float32)) for i, one in enumerate(QUERIES)]
    sampler = stub(
        lambda x, image, embedding: jnp.broadcast_to(embedding[:, :1, None, None], x.shape),
        film=True,
        batch=4,
        ensemble=ensemble,
        tta=tta,
    )
    for i, samples in enumerate(sampler.samples({}, queries)):
        np.testing.assert_allclose(samples, (i / 10 + 1) / 2, atol=1e-6)
