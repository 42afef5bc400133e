"""The Gaussian family: a velocity carries standard normal noise (t = 0) to a map of the mask in [-1, 1] (t = 1)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from flowseg.config import EvalConfig, FlowConfig
from flowseg.flow import Draw, Maps, Predict, Times, batch_mean, inside, training_times
from flowseg.flow.centreline import cldice_loss
from flowseg.flow.ode import integrate


def path(
    key: PRNGKeyArray, x1: Float[Array, "h w 1"], config: FlowConfig
) -> tuple[Float[Array, "h w 1"], Float[Array, ""], Float[Array, "h w 1"]]:
    """Draws a point of one example's conditional path (Tong et al. 2023, with the width of a Brownian bridge).

    x_t = (1 - t) x0 + t x1 + sigma sqrt(t (1 - t) + 1e-8) e, with x0 and e standard normal; sigma = 0 is the straight
    path of rectified flow (Lipman et al. 2023). The published velocity leaves out how the width changes with t. With
    sigma > 0 a perfect network therefore keeps a part of the noise, sigma^(2 / (1 - sigma^2)) x0: 5 % at 0.25.

    Returns:
        x_t, t, and the velocity u = x1 - x0 that the network is trained to predict there.
    """
    key_t, key_x0, key_e = jax.random.split(key, 3)
    t = training_times(jax.random.uniform(key_t), config)
    x0 = jax.random.normal(key_x0, x1.shape)
    x_t = (1 - t) * x0 + t * x1
    if config.sigma > 0:
        x_t = x_t + config.sigma * jnp.sqrt(t * (1 - t) + 1e-8) * jax.random.normal(key_e, x1.shape)
    return x_t, t, x1 - x0


def velocity_loss(v: Maps, u: Maps, weight: Maps | None = None) -> Float[Array, ""]:
    """Returns the mean squared error of the velocity over batch and pixels (Lipman et al. 2023, eq. 9)."""
    return batch_mean(jnp.square(v - u), weight)


def probability(x1: Maps) -> Maps:
    """Returns a map x in [-1, 1] as p = (x + 1) / 2, cut to [0, 1].

    It is a vessel probability where x was learnt from masks or shares of vessel; of a SAUNA map it is not.
    """
    return jnp.clip((x1 + 1) / 2, 0, 1)


@dataclass(frozen=True)
class Family:
    """The network's output is the velocity; the mask is where the end of the path exceeds 0."""

    config: FlowConfig
    noise_code: ClassVar[str] = "rng.standard_normal(shape, np.float32)"

    def loss(self, predict: Predict, target: Maps, draw: Draw, weight: Maps | None = None) -> Float[Array, ""]:
        x_t, t, u = jax.vmap(lambda key, x1: path(key, x1, self.config))(draw.keys, target)
        v = predict(x_t, t)
        loss = velocity_loss(v, u, weight)
        if not self.config.cldice:
            return loss
        p, x1 = (inside(probability(x), weight) for x in (self.estimate(v, x_t, t), target))
        return loss + self.config.cldice * cldice_loss(p, x1)

    def noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
        return rng.standard_normal(shape, np.float32)

    def sample(self, predict: Predict, noise: Maps, settings: EvalConfig) -> tuple[Maps, Float[Array, ""]]:
        """The end of the path, a map in [-1, 1], is read as 2 p - 1; see `probability`."""

        def velocity(x: Maps, t: Float[Array, ""]) -> Maps:
            return predict(x, jnp.full(x.shape[:1], t))

        x1, nfe = integrate(
            velocity, noise, sampler=settings.sampler, steps=settings.steps, tolerance=settings.tolerance
        )
        return probability(x1), nfe

    def estimate(self, output: Maps, x: Maps, t: Times) -> Maps:
        return x + (1 - t)[:, None, None, None] * output
