"""Flow families: the mathematics of carrying noise to a mask. Pure functions of arrays and keys.

A family is a file here with a class `Family` that does what `Flow` says. Nothing outside this folder knows which one
is at work: the training step asks for a loss, the sampler for probabilities, the network for an estimate of the mask.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from flowseg.config import EvalConfig, FlowConfig

Maps = Float[Array, "b h w 1"]
Times = Float[Array, " b"]
Predict = Callable[[Maps, Times], Maps]
"""The network's output at (x_t, t), for the images and embeddings of one batch."""


class Flow(Protocol):
    """What every flow family can do."""

    def loss(self, predict: Predict, target: Maps, keys: PRNGKeyArray) -> Float[Array, ""]:
        """Returns the mean training loss of a batch.

        Args:
            predict: the network for this batch.
            target: maps of the mask in [-1, 1], positive inside vessels (flowseg.data.targets).
            keys: (b,) one key per example; its time and its noise are drawn from it.
        """

    def noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
        """Draws what one sample of an image starts from: a value per pixel, from which windows can be cut."""

    def sample(self, predict: Predict, noise: Maps, settings: EvalConfig) -> tuple[Maps, Float[Array, ""]]:
        """Returns vessel probabilities in [0, 1] and the number of network evaluations (NFE).

        Args:
            predict: the network for this batch.
            noise: (b, h, w, 1) cut from what `noise` drew.
            settings: the rule of integration and the number of its steps.
        """

    def estimate(self, output: Maps, x: Maps, t: Times) -> Maps:
        """Returns the map that an output at (x_t, t) predicts: the mask is where it is positive."""


def make_flow(config: FlowConfig) -> Flow:
    """Returns the family that `config.family` names: the class `Family` of flowseg/flow/NAME.py."""
    return cast(Flow, import_module(f"flowseg.flow.{config.family}").Family(config))
