"""A network with a known velocity, images of many shapes, and how window samplers are made of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from flowseg.config import Config, DataConfig, EvalConfig, Family, FilmConfig, FlowConfig, ModelConfig
from flowseg.data.dataset import NetworkInput
from flowseg.models.network import Params
from flowseg.sampling.windows import WindowSampler

CROP = 16
# Larger, smaller than a window, narrower in one direction, no multiple of anything.
SHAPES = [(16, 16), (40, 23), (10, 12), (9, 33), (17, 16), (32, 48), (5, 5)]


def config(
    *,
    family: Family = "gaussian",
    film: bool = False,
    batch: int = 3,
    overlap: float = 0.25,
    seed: int = 0,
    ensemble: int = 1,
    tta: bool = False,
) -> Config:
    stages = FilmConfig(stages=(0, 1) if film else (), embedding_width=4, condition_width=8, hidden_width=8)
    return Config(
        seed=seed,
        model=ModelConfig(dim=8, multipliers=(1, 1), heads=1, head_dim=8, full_attention_levels=(1,), film=stages),
        flow=FlowConfig(family=family),
        data=DataConfig(crop=CROP),
        eval=EvalConfig(
            "euler", steps=1, window_batch=batch, overlap=overlap, ensemble=ensemble, tta=tta, min_component=0
        ),
    )


def query(index: int, shape: tuple[int, int], value: float | None = None) -> NetworkInput:
    image = np.random.default_rng(index).uniform(-1, 1, shape).astype(np.float32)
    embedding = None if value is None else np.full(4, value, np.float32)
    return NetworkInput(f"image {index}", f"{index + 1:032x}", image, shape, embedding)


def noise_of(content: str, seed: int, shape: tuple[int, int], sample: int = 0) -> np.ndarray:
    """The noise that a sample of an image starts from, as a sampler draws it."""
    return WindowSampler(config(seed=seed, ensemble=sample + 1)).noise(content, shape)[sample]


QUERIES = [query(i, shape) for i, shape in enumerate(SHAPES)]


@dataclass
class Stub:
    """A network with a known velocity: with one Euler step the sample is x0 + velocity."""

    sample: Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array]

    def rounded(self, params: Params) -> Params:
        return params

    def apply(self, params: Any, x: jax.Array, t: jax.Array, image: jax.Array, embedding: Any) -> jax.Array:
        assert t.shape == x.shape[:1] and image.shape == x.shape and x.shape[1:] == (CROP, CROP, 1)
        return self.sample(x, image, embedding) - x


StubSampler = Callable[..., WindowSampler]


def single(
    sampler: WindowSampler, queries: Sequence[NetworkInput], params: Params | None = None
) -> Iterator[np.ndarray]:
    """The probability maps of a sampler that draws one sample."""
    for samples in sampler.samples({} if params is None else params, queries):
        assert len(samples) == 1
        yield samples[0]
