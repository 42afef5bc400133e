"""All parameters as one vector.

The optimiser, the moving average and the checkpoints work on this vector. On some 500 arrays, each with two moments
and an average, they would be thousands of small operations, which take longer to compile and to load than the network.
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
    """The place of each parameter of a tree in the vector: in the order of the tree, each in C order."""

    def __init__(self, like: Params):
        """`like` has the names and shapes; its leaves are float32 and may be abstract."""
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(like)
        assert all(leaf.dtype == np.float32 for _, leaf in leaves), "parameters are float32"
        names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
        self.shapes = {name: tuple(leaf.shape) for name, (_, leaf) in zip(names, leaves, strict=True)}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        """Numbers of each parameter, in the order of `shapes`."""
        self.size = sum(self.sizes)

    def ravel(self, params: Params) -> Float[Array, " p"]:
        """Returns the vector of a tree. Differentiable."""
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])

    def ravel_host(self, params: Params) -> Float[np.ndarray, " p"]:
        """Returns the vector of a tree of numpy arrays."""
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])

    def unravel(self, vector: Float[Array, " p"]) -> Params:
        """Returns the tree of a vector. Differentiable."""
        return self._tree(jax.lax.split(vector, self.sizes))

    def unravel_host(self, vector: Float[np.ndarray, " p"]) -> Params:
        """Returns the tree of a vector, as views of it."""
        return self._tree(np.split(vector, list(accumulate(self.sizes))[:-1]))

    def _tree(self, parts: Sequence[Any]) -> Params:
        shaped = [part.reshape(shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]
        return jax.tree_util.tree_unflatten(self._structure, shaped)
