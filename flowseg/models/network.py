"""A network as pure functions of its parameters, which are a plain tree."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowseg.config import Config, ModelConfig
from flowseg.models.junctions import junction_gate
from flowseg.models.kernels import PLAIN, Kernels
from flowseg.models.parameters import draw
from flowseg.models.unet import EXACT, GammaBeta, UNet

Params = dict[str, Any]
Estimate = Callable[[Array, Array, Array], Float[Array, "b h w 1"]]
# Stream of the seed tree (see training.step).
INIT_STREAM = 0
DTYPES = {"float32": jnp.float32, "bf16": jnp.bfloat16}


@cache
def _parts(model: ModelConfig, size: int, precision: str, kernels: Kernels) -> tuple[nnx.GraphDef[UNet], nnx.State]:
    """Returns the structure of a network for maps of `size` pixels, and its declared parameters, without values."""
    return nnx.split(UNet(model, size, kernels=kernels, dtype=DTYPES[precision]), nnx.Param)


def _declared(config: Config) -> nnx.State:
    return _parts(config.model, config.data.crop, "float32", PLAIN)[1]  # whatever the products' precision


def params_of(model: UNet) -> Params:
    """Returns the parameters of a model as nested dicts of float32 arrays."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def abstract_params(config: Config) -> Params:
    """Returns the shapes and dtypes of the parameters, without making them."""
    return nnx.to_pure_dict(_declared(config))


def init_params(config: Config) -> Params:
    """Returns fresh parameters on the host. They are a function of the config's model, crop and seed."""
    rng = np.random.default_rng([config.seed, INIT_STREAM])
    declared = nnx.to_pure_dict(_declared(config), lambda leaf: leaf)
    return jax.tree.map(lambda leaf: draw(leaf, rng), declared, is_leaf=lambda leaf: isinstance(leaf, nnx.Param))


class Network:
    """The network of a config as pure functions of its parameters.

    Args:
        config: its model, crop and precision are used.
        kernels: those for the device that it runs on (`kernels.choose`).
        estimate: estimate(output, x_t, t) is the mask that an output stands for, positive inside vessels. It is used
            with `model.film.junction_radius` only.
    """

    def __init__(self, config: Config, kernels: Kernels, estimate: Estimate):
        self._graph, self._state = _parts(config.model, config.data.crop, config.precision, kernels)
        self._dtype = DTYPES[config.precision]
        self._junction_radius = config.model.film.junction_radius
        self._estimate = estimate

    def rounded(self, params: Params) -> Params:
        """Returns the parameters with kernels in the dtype of products, as the network uses them.

        What evaluates the network in a loop calls this before it, so that kernels are not rounded in every round.
        """
        return {n: part if n in EXACT else _for_products(part, self._dtype) for n, part in params.items()}

    def _model(self, params: Params) -> UNet:
        state = jax.tree.map(lambda leaf: leaf, self._state)
        nnx.replace_by_pure_dict(state, self.rounded(params))
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
        """Returns the condition vector that the heads of all FiLM stages read."""
        film = self._model(params).film
        assert film is not None, "the network has no FiLM stages"
        return film.conditioner(embedding)

    def film(self, params: Params, embedding: Float[Array, "b e"]) -> list[GammaBeta]:
        """Returns (gamma, beta), each (B, C), of every FiLM stage."""
        model = self._model(params)
        return model.film(embedding) if model.film is not None else []


def _for_products(params: Params, dtype: DTypeLike) -> Params:
    """Returns the parameters with kernels in the dtype of products.

    They are rounded once here, and not by each layer, which the backward pass would do again.
    """
    leaves = {name: part for name, part in params.items() if not isinstance(part, dict)}
    if "kernel" in leaves:
        leaves["kernel"] = leaves["kernel"].astype(dtype)
    return leaves | {name: _for_products(part, dtype) for name, part in params.items() if isinstance(part, dict)}


def by_name(params: Params) -> dict[str, Any]:
    """Returns the parameters, or what a tree holds in their places, by names such as `encoder.0.mask.down.kernel`."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def count(params: Params) -> int:
    """Returns the number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def parameter_counts(params: Params) -> dict[str, int]:
    """Returns numbers of parameters: total, base network, FiLM conditioner, FiLM heads."""
    film = params.get("film") or {}
    conditioner, heads = count(film.get("conditioner", {})), count(film.get("heads", {}))
    total = count(params)
    return {
        "total": total,
        "base": total - conditioner - heads,
        "conditioner": conditioner,
        "film_heads": heads,
    }
