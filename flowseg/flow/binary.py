"""The binary family: discrete flow matching from Bernoulli(1/2) draws (t = 0) to the mask (t = 1), in {0, 1}.

The path is the mixture path of Gat et al., Discrete Flow Matching (NeurIPS 2024), for two states: the network sees a
binary map and gives the logits of the mask. The losses and samplers are those of the published experiment
(docs/recipe.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from flowseg.config import EvalConfig, FlowConfig
from flowseg.flow import Draw, Maps, Predict, Times, batch_mean, example_means, inside, training_times
from flowseg.flow.centreline import cldice_loss

Uniforms = Callable[[Int[Array, ""] | int], Maps]
"""Returns the uniform numbers of one draw, by the draw's number."""

_SMOOTH = 1e-6  # in numerator and denominator of the soft Dice
_CONSISTENT_EXAMPLES = 2  # of a batch, at most


def vessel_share(target: Maps) -> Maps:
    """Returns a target map in [-1, 1] as the share of each pixel that is vessel; a mask is in {0, 1}."""
    return (target + 1) / 2


def _wide(t: Times) -> Maps:
    return t[:, None, None, None]


def path(x1: Maps, t: Times, u_source: Maps, u_keep: Maps) -> Maps:
    """Returns x_t: each pixel is the mask's with probability t, else a Bernoulli(1/2) draw.

    Args:
        x1: the mask in {0, 1}.
        t: times in [0, 1].
        u_source, u_keep: uniform numbers; x0 is u_source < 1/2, and a pixel of x_t is x1 where u_keep < t.
    """
    x0 = (u_source < 0.5).astype(x1.dtype)
    return jnp.where(u_keep < _wide(t), x1, x0)


def bce_loss(logits: Maps, x1: Maps, weight: Maps | None = None) -> Float[Array, ""]:
    """Returns the mean binary cross-entropy over batch and pixels."""
    return batch_mean(optax.sigmoid_binary_cross_entropy(logits, x1), weight)


def dice_loss(logits: Maps, x1: Maps, weight: Maps | None = None) -> Float[Array, ""]:
    """Returns 1 - soft Dice (Milletari et al. 2016, with plain sums) of each image, averaged over the batch."""
    p, x1 = inside(jax.nn.sigmoid(logits), weight), inside(x1, weight)
    both, either = jnp.sum(p * x1, (1, 2, 3)), jnp.sum(p + x1, (1, 2, 3))
    return jnp.mean(1 - (2 * both + _SMOOTH) / (either + _SMOOTH))


def mask_loss(logits: Maps, x1: Maps, cldice: float = 0.0, weight: Maps | None = None) -> Float[Array, ""]:
    """Returns `bce_loss` + `dice_loss` + `cldice` times `cldice_loss`, of the pixels that count."""
    loss = bce_loss(logits, x1, weight) + dice_loss(logits, x1, weight)
    if not cldice:
        return loss
    return loss + cldice * cldice_loss(inside(jax.nn.sigmoid(logits), weight), inside(x1, weight))


def consistency(predict: Predict, x: Maps, t1: Times, t2: Times, weight: Maps | None = None) -> Float[Array, " b"]:
    """Returns the mean squared difference, per example, between one step from t1 to t2 and two half steps.

    The steps move the probability p along (sigmoid(logits) - p) / (1 - t + 1e-5), from p = x. The gradient goes
    through both sides.

    Args:
        x: a binary map x_t1. The network is given the real-valued p at the midpoint.
    """

    def velocity(p: Maps, t: Times) -> Maps:
        return (jax.nn.sigmoid(predict(p, t)) - p) / _wide(1 - t + 1e-5)

    middle = (t1 + t2) / 2
    half = _wide(middle - t1)

    def half_step(p: Maps, t: Times) -> tuple[Maps, tuple[Maps, Maps]]:
        v = velocity(p, t)
        return jnp.clip(p + v * half, 0, 1), (p, v)

    # A loop: the program then holds the network once more, not twice, and compiles sooner.
    _, ((_, p), (v1, v2)) = jax.lax.scan(half_step, x, jnp.stack([t1, middle]))
    halves = p + v2 * half
    return example_means(jnp.square(x + v1 * _wide(t2 - t1) - halves), weight)


def sample(predict: Predict, uniforms: Uniforms, *, heun: bool, steps: int) -> Maps:
    """Returns vessel probabilities: what the network predicts in the last of `steps` steps of equal length.

    A probability p starts at 1/2 in every pixel and moves along (p1 - p) / (1 - t + 1e-6), where p1 is what the
    network predicts from a Bernoulli draw of p. Heun's rule averages this velocity with that at the end of the step.
    Nothing of a step is used after the last p1 is known, so the last step is a single evaluation.

    Args:
        uniforms: draw 0 is the start; then one draw per step, or with Heun two: at the predicted end, and after it.
    """
    draws = 2 if heun else 1

    def predicted(x: Maps, t: Float[Array, ""]) -> Maps:
        return jax.nn.sigmoid(predict(x, jnp.full(x.shape[:1], t)))

    def velocity(p: Maps, p1: Maps, t: Float[Array, ""]) -> Maps:
        return (p1 - p) / (1 - t + 1e-6)

    def draw(p: Maps, number: Int[Array, ""]) -> Maps:
        return (uniforms(number) < p).astype(jnp.float32)

    def step(state: tuple[Maps, Maps], k: Int[Array, ""]) -> tuple[tuple[Maps, Maps], None]:
        p, x = state
        t, end = k / steps, (k + 1) / steps
        v = velocity(p, predicted(x, t), t)
        if heun:
            p_end = jnp.clip(p + v / steps, 0, 1)
            v = (v + velocity(p_end, predicted(draw(p_end, 2 * k + 1), end), end)) / 2
        p = jnp.clip(p + v / steps, 0, 1)
        return (p, draw(p, draws * (k + 1))), None

    x = (uniforms(0) < 0.5).astype(jnp.float32)
    (_, x), _ = jax.lax.scan(step, (jnp.full(x.shape, 0.5), x), jnp.arange(steps - 1))
    return predicted(x, jnp.asarray((steps - 1) / steps))


def pixel_uniforms(seeds: UInt32[Array, "b h w 1"], number: Int[Array, ""] | int) -> Maps:
    """Returns a uniform number in [0, 1) per pixel: a function of the pixel's seed and the number of the draw."""
    numbers = jnp.broadcast_to(jnp.asarray(number, jnp.uint32), seeds.shape)
    keys = jax.random.wrap_key_data(jnp.stack([seeds, numbers], axis=-1), impl="threefry2x32")
    return jax.vmap(jax.random.uniform)(keys.reshape(-1)).reshape(seeds.shape)


@dataclass(frozen=True)
class Family:
    """The network's output is the logits of the mask."""

    config: FlowConfig
    noise_code: ClassVar[str] = "rng.integers(2**32, size=shape, dtype=np.uint32)"

    def loss(self, predict: Predict, target: Maps, draw: Draw, weight: Maps | None = None) -> Float[Array, ""]:
        def uniforms(key: PRNGKeyArray) -> tuple[Array, ...]:
            times, *maps = jax.random.split(key, 4)
            return jax.random.uniform(times, (3,)), *(jax.random.uniform(k, target.shape[1:]) for k in maps)

        times, u_mask, u_source, u_keep = jax.vmap(uniforms)(draw.keys)
        share = vessel_share(target)
        x1 = (u_mask < share).astype(share.dtype)
        t = training_times(times[:, 0], self.config)
        loss = mask_loss(predict(path(x1, t, u_source, u_keep), t), share, self.config.cldice, weight)
        if not self.config.consistency:
            return loss
        count = min(_CONSISTENT_EXAMPLES, len(target))
        chosen = draw.places[:count] < _CONSISTENT_EXAMPLES

        def term() -> Float[Array, ""]:
            t1 = 0.4 * times[:count, 1]
            x = path(x1[:count], t1, u_source[:count], u_keep[:count])
            counting = weight if weight is None else weight[:count]
            values = consistency(predict, x, t1, t1 + 0.1 + 0.4 * times[:count, 2], counting)
            # The mean over the chosen examples of the batch, as this part's share of the batch's mean.
            chosen_of_batch = min(_CONSISTENT_EXAMPLES, draw.size)
            return jnp.sum(jnp.where(chosen, values, 0)) / chosen_of_batch * draw.size / len(target)

        wanted = jax.random.uniform(draw.batch_key) < self.config.consistency_probability
        return loss + self.config.consistency * jax.lax.cond(wanted & chosen[0], term, lambda: jnp.zeros(()))

    def noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> UInt32[np.ndarray, "h w"]:
        """A seed per pixel, from which all its Bernoulli draws follow."""
        return rng.integers(2**32, size=shape, dtype=np.uint32)

    def sample(self, predict: Predict, noise: UInt32[Array, "b h w 1"], settings: EvalConfig) -> tuple[Maps, Array]:
        heun = settings.sampler == "heun"
        p1 = sample(predict, lambda number: pixel_uniforms(noise, number), heun=heun, steps=settings.steps)
        return p1, jnp.asarray(2.0 * settings.steps - 1 if heun else float(settings.steps))

    def estimate(self, output: Maps, x: Maps, t: Times) -> Maps:
        return output
