"""All parameters as one vector.

The optimiser, the average of the parameters and the checkpoints work on this vector: some 500 arrays, each with two
moments and an average, would make thousands of small operations, which take longer to compile and to load than the
network itself.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flowseg.models.network import Params


class Layout:
    """Where each parameter of a tree stands in the vector: in the tree's order, each in C order."""

    def __init__(self, like: Params):
        """`like` gives names and shapes; its leaves may be abstract. All are float32."""
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(like)
        assert all(leaf.dtype == np.float32 for _, leaf in leaves), "parameters are float32"
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        self.shapes = {name: tuple(leaf.shape) for name, (_, leaf) in zip(names, leaves, strict=True)}
        self._sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.size = sum(self._sizes)

    def ravel(self, params: Params) -> Float[Array, " p"]:
        """The vector of a tree; differentiable, and traceable."""
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])

    def ravel_host(self, params: Params) -> Float[np.ndarray, " p"]:
        """The vector of a tree of numpy arrays."""
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])

    def unravel(self, vector: Float[Array, " p"]) -> Params:
        """The tree of a vector; differentiable, and traceable."""
        return self._tree(jax.lax.split(vector, self._sizes))

    def unravel_host(self, vector: Float[np.ndarray, " p"]) -> Params:
        """The tree of a vector, as views of it."""
        return self._tree(np.split(vector, list(accumulate(self._sizes))[:-1]))

    def _tree(self, parts: Sequence[Any]) -> Params:
        shaped = [part.reshape(shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]
        return jax.tree_util.tree_unflatten(self._structure, shaped)
