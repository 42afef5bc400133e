"""FiLM: an embedding of the whole image scales and shifts the channels of decoder stages (Perez et al. 2018)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.models.layers import NORM_EPSILON, dense


class Conditioner(nnx.Module):
    """embedding -> condition: Dense, then LayerNorm."""

    def __init__(self, embedding_width: int, condition_width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.dense = dense(embedding_width, condition_width, dtype=dtype, rngs=rngs)
        self.norm = nnx.LayerNorm(condition_width, epsilon=NORM_EPSILON, dtype=jnp.float32, rngs=rngs)

    def __call__(self, embedding: Float[Array, "b e"]) -> Float[Array, "b d"]:
        return self.norm(self.dense(embedding))


class FilmHead(nnx.Module):
    """condition -> (gamma, beta) of one stage; the last layer starts at zero, so gamma = 1 and beta = 0."""

    def __init__(self, condition_width: int, hidden: int, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(condition_width, epsilon=NORM_EPSILON, dtype=jnp.float32, rngs=rngs)
        self.dense1 = dense(condition_width, hidden, dtype=dtype, rngs=rngs)
        self.dense2 = dense(hidden, 2 * width, dtype=dtype, rngs=rngs, zero=True)

    def __call__(self, condition: Float[Array, "b d"]) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
        gamma, beta = jnp.split(self.dense2(jax.nn.relu(self.dense1(self.norm(condition)))), 2, axis=-1)
        return 1 + gamma, beta


def modulate(
    x: Float[Array, "b h w c"],
    film: tuple[Float[Array, "b c"], Float[Array, "b c"]] | None,
    gate: Float[Array, "b h w 1"] | None = None,
) -> Float[Array, "b h w c"]:
    """gamma x + beta per channel; x itself where the stage has no FiLM, or where the gate is 0."""
    if film is None:
        return x
    gamma, beta = film
    modulated = gamma[:, None, None].astype(x.dtype) * x + beta[:, None, None].astype(x.dtype)
    return modulated if gate is None else x + gate.astype(x.dtype) * (modulated - x)
