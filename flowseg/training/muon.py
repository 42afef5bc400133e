"""Muon for the vector of all parameters: matrices by orthogonalised momentum, the rest by AdamW.

Matrices of the same shape are stacked and orthogonalised together: the network has some 150, in 40 shapes.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers
from optax.contrib import muon as optax_muon

from flowseg.config import OptimConfig
from flowseg.models.vector import Layout

UPDATE_RMS = 0.2
"""Root mean square of a matrix's update, in units of the learning rate: about AdamW's (Liu et al. 2025)."""

Shape = tuple[int, int, int]
"""Number of matrices, fan-in, fan-out."""
Split = dict[str, Float[Array, "..."]]
_REST = "rest"
_FUSED = "qkv"
_BY_ADAMW = ("stem_mask", "stem_image", "head", "film")


class Matrices:
    """Takes the matrices out of the vector of all parameters, and puts them back.

    A matrix is the kernel of a convolution or a dense layer as (fan-in, fan-out), where the fan-in of a convolution is
    its window times its channels. A kernel that makes queries, keys and values at once is three matrices: what one of
    them learns has to do with the size of its gradient, not with that of the others'. The first and last layers' are
    left to AdamW, as is usual with Muon, and so are those of FiLM, which see one vector per image.
    """

    def __init__(self, layout: Layout):
        self._sizes = layout.sizes
        self._shapes = [_matrices(name, shape) for name, shape in layout.shapes.items()]
        self._rest_sizes = [size for size, shape in zip(self._sizes, self._shapes, strict=True) if shape is None]
        # In the network's order: that of a set differs from process to process, and with it the compiled program.
        self.groups = list(dict.fromkeys(_group(shape) for shape in self._shapes if shape is not None))

    def split(self, vector: Float[Array, " p"]) -> Split:
        """Returns the matrices of each shape as one array (n, fan-in, fan-out), and all other parameters as `rest`."""
        parts: dict[str, list[Array]] = {}
        for part, shape in zip(jax.lax.split(vector, self._sizes), self._shapes, strict=True):
            if shape is None:
                parts.setdefault(_REST, []).append(part)
                continue
            count, fan_in, fan_out = shape
            kernel = part.reshape(fan_in, count, fan_out)
            parts.setdefault(_group(shape), []).extend(kernel[:, i] for i in range(count))
        rest = jnp.concatenate(parts.pop(_REST))
        return {_REST: rest, **{group: jnp.stack(matrices) for group, matrices in parts.items()}}

    def join(self, split: Split) -> Float[Array, " p"]:
        """Returns the vector that `split` took apart."""
        parts = {group: iter(split[group]) for group in self.groups}
        rest = iter(jax.lax.split(split[_REST], self._rest_sizes))

        def joined(shape: Shape | None) -> Float[Array, " n"]:
            if shape is None:
                return next(rest)
            return jnp.stack([next(parts[_group(shape)]) for _ in range(shape[0])], axis=1).ravel()

        return jnp.concatenate([joined(shape) for shape in self._shapes])


def muon(config: OptimConfig, rate: optax.Schedule, layout: Layout) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) for the matrices, AdamW for the rest, on the vector of all parameters.

    Args:
        rate: AdamW's learning rate; the matrices' is proportional to it, with the peak `config.muon_lr`.
    """
    matrices = Matrices(layout)

    def muon_rate(count: Any) -> Any:
        return rate(count) * (config.muon_lr / config.lr)

    across = optax_muon(
        muon_rate,
        weight_decay=config.weight_decay,
        adam_weight_decay=0.0,
        adam_learning_rate=rate,
        muon_weight_dimension_numbers={
            _REST: None,
            **dict.fromkeys(matrices.groups, MuonDimensionNumbers(reduction_axis=1, output_axis=2)),
        },
        consistent_rms=UPDATE_RMS,
    )

    def update(grads: Any, state: optax.OptState, params: Any = None) -> tuple[Float[Array, " p"], optax.OptState]:
        updates, state = across.update(matrices.split(grads), state, matrices.split(params))
        return matrices.join(updates), state

    return optax.GradientTransformation(lambda params: across.init(matrices.split(params)), update)


def _matrices(name: str, shape: tuple[int, ...]) -> Shape | None:
    """Returns a parameter's matrices, which lie side by side; None if Muon does not update it."""
    *_, layer, last = name.split("/")
    if last != "kernel" or name.split("/")[0] in _BY_ADAMW:
        return None
    count = 3 if layer.startswith(_FUSED) else 1
    return count, math.prod(shape[:-1]), shape[-1] // count


def _group(shape: Shape) -> str:
    return f"{shape[1]}x{shape[2]}"
