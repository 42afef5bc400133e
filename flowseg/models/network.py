"""Making networks: parameters as a plain tree, and the pure function that applies them."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from flowseg.config import Config, ModelConfig
from flowseg.models.junctions import junction_gate
from flowseg.models.kernels import PLAIN, Kernels
from flowseg.models.unet import GammaBeta, UNet

Params = dict[str, Any]
Estimate = Callable[[Array, Array, Array], Float[Array, "b h w 1"]]
# Stream of the seed tree (see training.step).
INIT_STREAM = 0
DTYPES = {"float32": jnp.float32, "bf16": jnp.bfloat16}


@cache
def abstract_network(
    model: ModelConfig, size: int, precision: str, kernels: Kernels
) -> tuple[nnx.GraphDef[UNet], nnx.State]:
    """Structure and parameter shapes of a network for maps of `size` pixels, without making it.

    Kept, since tracing takes a second.
    """
    made = nnx.eval_shape(lambda: UNet(model, size, kernels=kernels, rngs=nnx.Rngs(0), dtype=DTYPES[precision]))
    return nnx.split(made, nnx.Param)


def params_of(model: UNet) -> Params:
    """The parameters of a model as nested dicts of float32 arrays."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def init_params(config: Config) -> Params:
    """Fresh parameters, a function of the config's model, crop and seed.

    The distribution is that of the modules' own initialisers, drawn on the host: compiling a program that draws
    some 500 small arrays takes a minute.
    """
    rng = np.random.default_rng([config.seed, INIT_STREAM])

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        keys = [str(getattr(part, "key", part)) for part in path]
        if keys[-1] == "kernel" and not (keys[:2] == ["film", "heads"] and keys[-2] == "dense2"):
            bound = math.prod(leaf.shape[:-1]) ** -0.5
            return rng.uniform(-bound, bound, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, keys[-1] in ("gain", "scale", "spectrum"), np.float32)

    return jax.tree_util.tree_map_with_path(draw, abstract_params(config))


def abstract_params(config: Config) -> Params:
    """Shapes and dtypes of the parameters, without making them."""
    return nnx.to_pure_dict(abstract_network(config.model, config.data.crop, config.precision, PLAIN)[1])


class Network:
    """The network of a config as pure functions of its parameters.

    Args:
        config: model, crop and precision are read.
        kernels: those for the device that it runs on (`kernels.choose`).
        estimate: of the network's output, x_t and t: the estimate of the mask that the output stands for, positive
            where there is vessel. The gate at junctions (`model.film.junction_radius`) asks for it.
    """

    def __init__(self, config: Config, kernels: Kernels, estimate: Estimate):
        self._graph, self._state = abstract_network(config.model, config.data.crop, config.precision, kernels)
        self._junction_radius = config.model.film.junction_radius
        self._estimate = estimate

    def _model(self, params: Params) -> UNet:
        state = jax.tree.map(lambda leaf: leaf, self._state)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(self._graph, state)

    def apply(
        self,
        params: Params,
        x: Float[Array, "b h w 1"],
        t: Float[Array, " b"],
        image: Float[Array, "b h w 1"],
        embedding: Float[Array, "b e"] | None,
    ) -> Float[Array, "b h w 1"]:
        """Returns the network's output at (x_t, t), float32; see UNet for the arguments.

        With `model.film.junction_radius` the network runs twice: the first output, without a gate and without
        gradient, gives the estimate of the mask, and the second run leaves FiLM out near that mask's junctions.
        """
        model = self._model(params)
        if not self._junction_radius or embedding is None:
            return model(x, t, image, embedding)
        first = jax.lax.stop_gradient(model(x, t, image, embedding))
        gate = junction_gate(self._estimate(first, x, t), self._junction_radius)
        return model(x, t, image, embedding, gate)

    def condition(self, params: Params, embedding: Float[Array, "b e"]) -> Float[Array, "b d"]:
        """The condition vector that every FiLM stage's head reads."""
        film = self._model(params).film
        assert film is not None, "the network has no FiLM stages"
        return film.conditioner(embedding)

    def film(self, params: Params, embedding: Float[Array, "b e"]) -> list[GammaBeta]:
        """(gamma, beta), each (B, C), of every FiLM stage."""
        model = self._model(params)
        return model.film(embedding) if model.film is not None else []


def count(params: Params) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def parameter_counts(params: Params) -> dict[str, int]:
    """Numbers of parameters: total, base network, FiLM conditioner, FiLM heads."""
    film = params.get("film") or {}
    conditioner, heads = count(film.get("conditioner", {})), count(film.get("heads", {}))
    total = count(params)
    return {
        "total": total,
        "base": total - conditioner - heads,
        "conditioner": conditioner,
        "film_heads": heads,
    }
