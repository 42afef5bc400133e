"""The supervised family: no flow. The same network gives the logits of the mask at once, from x_t = 0 at t = 0.

It is the control that tells what a flow adds to the same network, with the same parameters.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from flowseg.config import EvalConfig, FlowConfig
from flowseg.flow import Draw, Maps, Predict, Times
from flowseg.flow.binary import mask_loss, vessel_share


@dataclass(frozen=True)
class Family:
    """The network's output is the logits of the mask; one evaluation, nothing drawn at random."""

    config: FlowConfig
    noise_code: ClassVar[str] = "np.zeros(shape, np.float32)"

    def loss(self, predict: Predict, target: Maps, draw: Draw, weight: Maps | None = None) -> Float[Array, ""]:
        logits = predict(jnp.zeros_like(target), jnp.zeros(len(target)))
        return mask_loss(logits, vessel_share(target), self.config.cldice, weight)

    def noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
        return np.zeros(shape, np.float32)

    def sample(self, predict: Predict, noise: Maps, settings: EvalConfig) -> tuple[Maps, Array]:
        return jax.nn.sigmoid(predict(noise, jnp.zeros(len(noise)))), jnp.asarray(1.0)

    def estimate(self, output: Maps, x: Maps, t: Times) -> Maps:
        return output
