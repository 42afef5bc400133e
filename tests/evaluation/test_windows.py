"""Sliding windows: they cover the image, put it together again, and do not mix images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowseg.config import Config, DataConfig, EvalConfig, FilmConfig, ModelConfig
from flowseg.evaluation import windows
from flowseg.evaluation.windows import Query, WindowSampler, corners, noise_of
from flowseg.models.network import init_params

CROP = 16
# Larger, smaller than a window, narrower in one direction, no multiple of anything.
SHAPES = [(16, 16), (40, 23), (10, 12), (9, 33), (17, 16), (32, 48), (5, 5)]


def config(*, film: bool = False, batch: int = 3, overlap: float = 0.25, seed: int = 0) -> Config:
    stages = FilmConfig(stages=(0, 1) if film else (), embedding_width=4, condition_width=8, hidden_width=8)
    return Config(
        seed=seed,
        model=ModelConfig(dim=8, multipliers=(1, 1, 1, 1), heads=1, head_dim=8, film=stages),
        data=DataConfig(crop=CROP),
        eval=EvalConfig(sampler="euler", steps=1, window_batch=batch, overlap=overlap),
    )


def query(index: int, shape: tuple[int, int], value: float | None = None) -> Query:
    image = np.random.default_rng(index).uniform(-1, 1, shape).astype(np.float32)
    embedding = None if value is None else np.full(4, value, np.float32)
    return Query(image, f"{index + 1:032x}", embedding)


QUERIES = [query(i, shape) for i, shape in enumerate(SHAPES)]


@dataclass
class Stub:
    """A network with a known velocity: with one Euler step the sample is x0 + velocity."""

    sample: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array]

    def velocity(self, params: Any, x: jax.Array, t: jax.Array, image: jax.Array, embedding: Any) -> jax.Array:
        assert t.shape == x.shape[:1] and image.shape == x.shape and x.shape[1:] == (CROP, CROP, 1)
        return self.sample(x, image, embedding) - x


StubSampler = Callable[..., WindowSampler]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubSampler:
    """A sampler whose samples are a given function of noise, image and embedding."""

    def make(sample: Callable, *, devices: Sequence[jax.Device] | None = None, **options: Any) -> WindowSampler:
        monkeypatch.setattr(windows, "Network", lambda config: Stub(sample))
        return WindowSampler(config(**options), devices)

    return make


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("window", [16, 64])
def test_corners_cover_everything_and_overlap_as_asked(window: int, overlap: float) -> None:
    for length in [*range(1, 4 * window), 512]:
        starts = corners(length, window, overlap)
        assert starts == sorted(set(starts)) and starts[0] == 0
        assert starts[-1] == max(length - window, 0)  # none juts out, unless the image is smaller
        for a, b in pairwise(starts):
            assert b - a <= window
            assert a + window - b >= overlap * window - 1  # starts are whole pixels
        if length > window:
            assert len(starts) == np.ceil((length - window) / (window * (1 - overlap))) + 1  # and no more than needed


def test_published_windows() -> None:
    assert corners(512, 320, 0.25) == [0, 192]
    assert corners(320, 320, 0.25) == [0]
    assert corners(256, 64, 0.25) == [0, 48, 96, 144, 192]


def test_noise_is_a_function_of_content_and_seed() -> None:
    a, b = "0123456789abcdef" * 2, "1123456789abcdef" * 2
    noise = noise_of(a, 0, (200, 300))
    assert noise.shape == (200, 300) and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    np.testing.assert_array_equal(noise_of(a, 0, (200, 300)), noise)
    for other in (noise_of(b, 0, (200, 300)), noise_of(a, 1, (200, 300))):
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_windows_are_put_together_where_they_were_cut(stub: StubSampler, overlap: float, batch: int) -> None:
    """Where the sample is the image itself, the merged probability is the image too, read as 2 p - 1."""
    sampler = stub(lambda x, image, embedding: image, overlap=overlap, batch=batch)
    found = list(sampler.probabilities({}, QUERIES))
    assert len(found) == len(QUERIES)
    for probability, one in zip(found, QUERIES, strict=True):
        assert probability.shape == one.image.shape and probability.dtype == np.float32
        np.testing.assert_allclose(probability, (one.image + 1) / 2, atol=1e-6)
    assert sampler.traces == 1


def test_overlapping_windows_start_from_the_same_noise(stub: StubSampler) -> None:
    """Where the sample is the noise, the merged map is the image's noise, cut to what a probability can be."""
    sampler = stub(lambda x, image, embedding: x, overlap=0.5, seed=5)
    for probability, one in zip(sampler.probabilities({}, QUERIES), QUERIES, strict=True):
        height, width = one.image.shape
        noise = noise_of(one.content, 5, (max(height, CROP), max(width, CROP)))[:height, :width]
        np.testing.assert_allclose(probability, np.clip((noise + 1) / 2, 0, 1), atol=1e-6)


def test_small_images_are_mirrored_at_their_border(stub: StubSampler) -> None:
    """The row below an image's last is its last again: seen through a sample that is the image one pixel up."""
    sampler = stub(lambda x, image, embedding: jnp.roll(image, -1, axis=1))
    one = query(3, (10, 16))
    found = next(iter(sampler.probabilities({}, [one])))
    expected = np.concatenate([one.image[1:], one.image[-1:]])
    np.testing.assert_allclose(found, (expected + 1) / 2, atol=1e-6)


def test_overlapping_windows_are_averaged(stub: StubSampler) -> None:
    """Each window says where its pixels lie in it; two windows share the middle columns of 24."""
    ramp = jnp.linspace(-1, 1, CROP)[None, None, :, None]
    sampler = stub(lambda x, image, embedding: jnp.broadcast_to(ramp, x.shape), overlap=0.5)
    found = next(iter(sampler.probabilities({}, [query(0, (16, 24))])))
    p = np.linspace(0, 1, CROP)
    expected = np.concatenate([p[:8], (p[8:] + p[:8]) / 2, p[8:]])
    np.testing.assert_allclose(found, np.tile(expected, (16, 1)), atol=1e-6)


def test_each_window_gets_its_image_s_embedding(stub: StubSampler) -> None:
    queries = [query(i, shape, value=i / 10) for i, shape in enumerate(SHAPES)]
    sampler = stub(
        lambda x, image, embedding: jnp.broadcast_to(embedding[:, :1, None, None], x.shape), film=True, batch=4
    )
    for i, probability in enumerate(sampler.probabilities({}, queries)):
        np.testing.assert_allclose(probability, (i / 10 + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("value", [-3.0, 3.0])
def test_probabilities_stay_between_zero_and_one(stub: StubSampler, value: float) -> None:
    sampler = stub(lambda x, image, embedding: jnp.full_like(x, value))
    for probability in sampler.probabilities({}, QUERIES):
        np.testing.assert_array_equal(probability, float(value > 0))


def test_images_come_in_order_as_soon_as_they_are_done(stub: StubSampler) -> None:
    sampler = stub(lambda x, image, embedding: image, batch=1)
    told: list[int] = []
    for done, _ in enumerate(sampler.probabilities({}, QUERIES, lambda: told.append(1))):
        assert len(told) == done  # the one in hand is counted when the next is asked for
    assert len(told) == len(QUERIES)
    assert list(sampler.probabilities({}, [])) == []


@pytest.mark.parametrize("batch", [4, 8, 3])
def test_devices_share_a_batch_and_change_nothing(stub: StubSampler, batch: int) -> None:
    assert len(jax.devices()) == 4
    one = stub(lambda x, image, embedding: image * jnp.abs(x), batch=batch)
    four = stub(lambda x, image, embedding: image * jnp.abs(x), batch=batch, devices=jax.devices())
    for a, b in zip(one.probabilities({}, QUERIES), four.probabilities({}, QUERIES), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_network_s_result_does_not_depend_on_its_company() -> None:
    """A real network, with FiLM: each image alone, all together, and in another order."""
    settings = config(film=True)
    params = init_params(settings)
    # FiLM starts at zero: make the embedding matter.
    for head in params["film"]["heads"].values():
        head["dense2"]["kernel"] = jax.random.normal(jax.random.key(0), head["dense2"]["kernel"].shape)
    queries = [query(i, shape, value=float(i % 2)) for i, shape in enumerate(SHAPES)]
    sampler = WindowSampler(settings)
    together = list(sampler.probabilities(params, queries))
    for probability, shape in zip(together, SHAPES, strict=True):
        assert probability.shape == shape and np.isfinite(probability).all()
        assert probability.min() >= 0 and probability.max() <= 1 and probability.std() > 0.05
    backwards = list(sampler.probabilities(params, queries[::-1]))[::-1]
    for i, one in enumerate(queries):
        alone = next(iter(sampler.probabilities(params, [one])))
        np.testing.assert_allclose(alone, together[i], atol=1e-5)
        np.testing.assert_allclose(backwards[i], together[i], atol=1e-5)
    assert sampler.traces == 1
    # Another embedding does change the result.
    other = Query(queries[1].image, queries[1].content, np.full(4, -3, np.float32))
    assert np.abs(next(iter(sampler.probabilities(params, [other]))) - together[1]).max() > 1e-3
