"""FiLM: an embedding of the whole image scales and shifts the channels of decoder stages (Perez et al. 2018).

All of it is float32 whatever the network computes in: gamma is close to 1, where bfloat16 has steps of 1/128, which
would hide how images differ. It costs next to nothing, since there is one vector per image.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from flowseg.models.group_norm import NORM_EPSILON
from flowseg.models.layers import Compute, Dense
from flowseg.models.parameters import ones, parameter, zeros


class LayerNorm(nnx.Module):
    """LayerNorm over the last axis with gain and bias, computed in float32."""

    def __init__(self, width: int):
        self.scale = parameter(ones, width)
        self.bias = parameter(zeros, width)

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d"]:
        x = x.astype(jnp.float32)
        mean = jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.maximum(0.0, jnp.mean(x * x, axis=-1, keepdims=True) - mean * mean)
        return (x - mean) * (jax.lax.rsqrt(variance + NORM_EPSILON) * self.scale[...]) + self.bias[...]


class Conditioner(nnx.Module):
    """From the embedding to the condition vector that all heads read: Dense, then LayerNorm."""

    def __init__(self, embedding_width: int, condition_width: int, compute: Compute):
        self.dense = Dense(embedding_width, condition_width, compute)
        self.norm = LayerNorm(condition_width)

    def __call__(self, embedding: Float[Array, "b e"]) -> Float[Array, "b d"]:
        return self.norm(self.dense(embedding))


class FilmHead(nnx.Module):
    """From the condition to (gamma, beta) of one stage. They start at 1 and 0: the last layer starts at zero."""

    def __init__(self, condition_width: int, hidden: int, width: int, compute: Compute):
        self.norm = LayerNorm(condition_width)
        self.dense1 = Dense(condition_width, hidden, compute)
        self.dense2 = Dense(hidden, 2 * width, compute, zero=True)

    def __call__(self, condition: Float[Array, "b d"]) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
        gamma, beta = jnp.split(self.dense2(jax.nn.relu(self.dense1(self.norm(condition)))), 2, axis=-1)
        return 1 + gamma, beta


def modulate(
    x: Float[Array, "b h w c"],
    film: tuple[Float[Array, "b c"], Float[Array, "b c"]] | None,
    gate: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, "b h w c"]:
    """Returns gamma x + beta per channel; x itself without FiLM, or where the gate is 0."""
    if film is None:
        return x
    gamma, beta = film
    exact = x.astype(jnp.float32)
    modulated = gamma[:, None, None] * exact + beta[:, None, None]
    return (modulated if gate is None else exact + gate * (modulated - exact)).astype(x.dtype)
