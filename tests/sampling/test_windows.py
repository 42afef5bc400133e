"""Sliding windows: they cover the image, put it together again, and do not mix images."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal
from stub_network import CROP, QUERIES, SHAPES, StubSampler, config, noise_of, query, single

from flowseg import machine
from flowseg.data.dataset import NetworkInput
from flowseg.models.network import init_params
from flowseg.sampling.canvas import corners, window_weights
from flowseg.sampling.windows import WindowSampler, check_sampling


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
    others = [noise_of(b, 0, (200, 300)), noise_of(a, 1, (200, 300)), noise_of(a, 0, (200, 300), 1)]
    for other in [*others, noise_of(a, 0, (200, 300), 2) - others[-1]]:
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_windows_are_put_together_where_they_were_cut(stub: StubSampler, overlap: float, batch: int) -> None:
    """Where the sample is the image itself, the merged probability is the image too, read as 2 p - 1."""
    sampler = stub(lambda x, image, embedding: image, overlap=overlap, batch=batch)
    found = list(single(sampler, QUERIES))
    assert len(found) == len(QUERIES)
    for probability, one in zip(found, QUERIES, strict=True):
        assert probability.shape == one.image.shape and probability.dtype == np.float32
        np.testing.assert_allclose(probability, (one.image + 1) / 2, atol=1e-6)
    assert sampler.traces == 1


def test_overlapping_windows_start_from_the_same_noise(stub: StubSampler) -> None:
    """Where the sample is the noise, the merged map is the image's noise, cut to what a probability can be."""
    sampler = stub(lambda x, image, embedding: x, overlap=0.5, seed=5)
    for probability, one in zip(single(sampler, QUERIES), QUERIES, strict=True):
        height, width = one.image.shape
        noise = noise_of(one.content, 5, (max(height, CROP), max(width, CROP)))[:height, :width]
        np.testing.assert_allclose(probability, np.clip((noise + 1) / 2, 0, 1), atol=1e-6)


def test_small_images_are_mirrored_at_their_border(stub: StubSampler) -> None:
    """The row below an image's last is its last again: seen through a sample that is the image one pixel up."""
    sampler = stub(lambda x, image, embedding: jnp.roll(image, -1, axis=1))
    one = query(3, (10, 16))
    found = next(single(sampler, [one]))
    expected = np.concatenate([one.image[1:], one.image[-1:]])
    np.testing.assert_allclose(found, (expected + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("window", [16, 64, 320])
def test_weights_are_a_gaussian_of_an_eighth_and_never_zero(window: int) -> None:
    weights = window_weights(window).astype(np.float64)
    assert weights.min() > 0 and weights.max() <= 1
    for turned in (weights.T, weights[::-1], weights[:, ::-1]):
        np.testing.assert_array_equal(turned, weights)
    # The logarithm of a Gaussian is a parabola whose curvature is 1 / sigma^2.
    curvature = np.diff(np.log(weights), 2, axis=1)
    np.testing.assert_allclose(curvature, -((8 / window) ** 2), rtol=0.02)


def test_overlapping_windows_are_averaged_by_their_weights(stub: StubSampler) -> None:
    """Each window says where its pixels lie in it; two windows share the middle columns of 24."""
    ramp = jnp.linspace(-1, 1, CROP)[None, None, :, None]
    sampler = stub(lambda x, image, embedding: jnp.broadcast_to(ramp, x.shape), overlap=0.5)
    found = next(single(sampler, [query(0, (16, 24))]))
    p, w = np.linspace(0, 1, CROP), np.exp(-0.5 * ((np.arange(CROP) - 7.5) / 2) ** 2)
    expected = np.concatenate([p[:8], (w[8:] * p[8:] + w[:8] * p[:8]) / (w[8:] + w[:8]), p[8:]])
    np.testing.assert_allclose(found, np.tile(expected, (16, 1)), atol=1e-5)


def test_each_window_gets_its_image_s_embedding(stub: StubSampler) -> None:
    queries = [query(i, shape, value=i / 10) for i, shape in enumerate(SHAPES)]
    sampler = stub(
        lambda x, image, embedding: jnp.broadcast_to(embedding[:, :1, None, None], x.shape), film=True, batch=4
    )
    for i, probability in enumerate(single(sampler, queries)):
        np.testing.assert_allclose(probability, (i / 10 + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("value", [-3.0, 3.0])
def test_probabilities_stay_between_zero_and_one(stub: StubSampler, value: float) -> None:
    sampler = stub(lambda x, image, embedding: jnp.full_like(x, value))
    for probability in single(sampler, QUERIES):
        np.testing.assert_array_equal(probability, float(value > 0))


def test_images_come_in_order_as_soon_as_they_are_done(stub: StubSampler) -> None:
    sampler = stub(lambda x, image, embedding: image, batch=1)
    taken = 0

    def images() -> Iterator[NetworkInput]:
        nonlocal taken
        for one in QUERIES:
            taken += 1
            yield one

    for done, _ in enumerate(sampler.samples({}, images()), 1):
        assert taken == done  # the next image is not read before this one is finished
    assert taken == len(QUERIES)
    assert list(sampler.samples({}, [])) == []


@pytest.mark.parametrize("more", [{}, {"ensemble": 3, "tta": True}])
@pytest.mark.parametrize("batch", [4, 8, 3])
def test_devices_share_a_batch_and_change_nothing(stub: StubSampler, batch: int, more: dict[str, int]) -> None:
    assert len(jax.devices()) == 4
    one = stub(lambda x, image, embedding: image * jnp.abs(x), batch=batch, **more)
    four = stub(lambda x, image, embedding: image * jnp.abs(x), batch=batch, devices=jax.devices(), **more)
    for a, b in zip(one.samples({}, QUERIES), four.samples({}, QUERIES), strict=True):
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
    together = list(single(sampler, queries, params))
    for probability, shape in zip(together, SHAPES, strict=True):
        assert probability.shape == shape and np.isfinite(probability).all()
        assert probability.min() >= 0 and probability.max() <= 1 and probability.std() > 0.05
    backwards = list(single(sampler, queries[::-1], params))[::-1]
    for i, one in enumerate(queries):
        alone = next(single(sampler, [one], params))
        np.testing.assert_allclose(alone, together[i], atol=1e-5)
        np.testing.assert_allclose(backwards[i], together[i], atol=1e-5)
    assert sampler.traces == 1
    # Another embedding does change the result.
    other = replace(queries[1], embedding=np.full(4, -3, np.float32))
    assert np.abs(next(single(sampler, [other], params)) - together[1]).max() > 1e-3


def gpu(size: float | None) -> Any:
    stats = {"bytes_limit": int(size)} if size else None
    return SimpleNamespace(platform="gpu", device_kind="NVIDIA A2", memory_stats=lambda: stats)


def test_a_device_that_is_not_there_says_no_memory() -> None:
    """As one that a program is compiled for on another machine."""

    def refused() -> None:
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: MemoryStats is only supported for addressable devices")

    assert machine.device_memory(SimpleNamespace(memory_stats=refused)) is None  # type: ignore[arg-type]


def test_windows_take_the_memory_of_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch of 8 windows with two samples each: the samples on the machine, and with the maps on the device."""
    settings = config(batch=8, ensemble=2)
    pixels, maps, samples = 8 * CROP**2, 3 * 4 * 8, 2 * 4 * 2
    cpu = jax.devices("cpu")[:1]

    def machine_has(size: float) -> None:
        monkeypatch.setattr(machine, "machine_memory", lambda: size)

    machine_has(pixels * (maps + samples))
    check_sampling(settings, cpu)
    machine_has(pixels * (maps + samples) - 1)
    assert "and this machine has" in refusal(lambda: check_sampling(settings, cpu))
    machine_has(pixels * samples)  # a GPU beside a small machine
    check_sampling(settings, [gpu(pixels * (maps + samples))])
    check_sampling(settings, [gpu(None)])
    told = refusal(lambda: check_sampling(settings, [gpu(pixels * (maps + samples) - 1)]))
    assert told.startswith("eval.window_batch = 8, eval.ensemble = 2: takes") and "and NVIDIA A2 has" in told
    half = gpu(pixels * (maps + samples) / 2)
    check_sampling(settings, [half, half])
    assert "NVIDIA A2" in refusal(lambda: check_sampling(settings, [half] * 3))  # they do not share eight windows
    machine_has(pixels * samples - 1)
    assert "and this machine has" in refusal(lambda: check_sampling(settings, [gpu(None)]))
