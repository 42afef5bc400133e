"""Flow families: the mathematics of carrying noise to a mask. Pure functions of arrays and keys.

A family is a file here with a class `Family` that does what `Flow` says. Nothing outside this folder knows which one
is at work: the training step asks for a loss, the sampler for probabilities, the network for an estimate of the mask.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from flowseg.config import EvalConfig, FlowConfig

Maps = Float[Array, "b h w 1"]
Times = Float[Array, " b"]
Predict = Callable[[Maps, Times], Maps]
"""The network's output at (x_t, t), for the images and embeddings of one batch, or for its first ones if x_t has fewer
examples."""


@dataclass(frozen=True)
class Draw:
    """What the randomness of a step is drawn from, for the part of a batch that a device computes at a time."""

    key: PRNGKeyArray
    """The key of the step, the same for every part."""
    places: Int[Array, " b"]
    """Where the examples of this part stand in the whole batch, ascending."""
    size: int
    """Examples in the whole batch."""

    @property
    def keys(self) -> PRNGKeyArray:
        """One key per example; they do not depend on how the batch is divided."""
        return jax.vmap(jax.random.fold_in, (None, 0))(self.key, self.places)

    @property
    def batch_key(self) -> PRNGKeyArray:
        """A key for what is drawn once per batch."""
        return jax.random.fold_in(self.key, self.size)  # places are smaller


class Flow(Protocol):
    """What every flow family can do."""

    noise_code: ClassVar[str]
    """NumPy code of `noise` in terms of `rng` and `shape`, for those who sample without flowseg."""

    def loss(self, predict: Predict, target: Maps, draw: Draw, weight: Maps | None = None) -> Float[Array, ""]:
        """Returns the training loss of a part of a batch; the loss of the batch is the mean over its equal parts.

        Args:
            predict: the network for this part.
            target: maps of the mask in [-1, 1], positive inside vessels (flowseg.data.targets).
            draw: what times and noise are drawn from.
            weight: 1 for each pixel that counts (inside the field of view), 0 for the others; None: all count.
        """

    def noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> Shaped[np.ndarray, "h w"]:
        """Draws what the randomness of one sample of an image is made of: a value per pixel, cut into windows."""

    def sample(self, predict: Predict, noise: Any, settings: EvalConfig) -> tuple[Maps, Float[Array, ""]]:
        """Returns maps in [0, 1] and the number of network evaluations (NFE).

        A map holds vessel probabilities, or with SAUNA targets (data.target) the SAUNA map as (x + 1) / 2. Either way
        the mask is where it exceeds 1/2.

        Args:
            predict: the network for this batch.
            noise: (b, h, w, 1) cut from what `noise` drew.
            settings: the rule of integration and the number of its steps.
        """

    def estimate(self, output: Maps, x: Maps, t: Times) -> Maps:
        """Returns the map that an output at (x_t, t) predicts: the mask is where it is positive."""


def training_times(uniform: Float[Array, "*shape"], config: FlowConfig) -> Float[Array, "*shape"]:
    """Returns the times of a training step, made of numbers uniform on [0, 1)."""
    return (jnp.maximum(uniform - config.time_zero, 0) / (1 - config.time_zero)) ** config.time_power


def example_means(values: Maps, weight: Maps | None) -> Float[Array, " b"]:
    """Returns each example's mean over the pixels that count; 0 for one without such a pixel."""
    if weight is None:
        return jnp.mean(values, (1, 2, 3))
    return jnp.sum(values * weight, (1, 2, 3)) / jnp.maximum(jnp.sum(weight, (1, 2, 3)), 1)


def batch_mean(values: Maps, weight: Maps | None) -> Float[Array, ""]:
    """Returns the mean over batch and pixels; with weights, the mean of `example_means`.

    Each example then has the same weight, however many of its pixels count: the loss does not depend on how a batch is
    divided into parts.
    """
    return jnp.mean(values) if weight is None else jnp.mean(example_means(values, weight))


def inside(maps: Maps, weight: Maps | None) -> Maps:
    """Returns the maps with 0 in each pixel that does not count."""
    return maps if weight is None else maps * weight


def make_flow(config: FlowConfig) -> Flow:
    """Returns the family that `config.family` names: the class `Family` of flowseg/flow/NAME.py."""
    return cast(Flow, import_module(f"flowseg.flow.{config.family}").Family(config))
