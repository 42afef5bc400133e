"""How parameters start. Modules declare a shape and an initialiser; the values are drawn on the host.

Compiling a program that draws some 500 small arrays would take a minute.
"""

import math
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32

Values = Float32[np.ndarray, "..."]
Initialiser = Callable[[np.random.Generator, tuple[int, ...]], Values]


def parameter(initialiser: Initialiser, *shape: int) -> nnx.Param:
    """Returns a float32 parameter without a value; `draw` makes one."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, np.float32), initialiser=initialiser)


def draw(declared: nnx.Param, rng: np.random.Generator) -> Values:
    """Returns a fresh value of a declared parameter."""
    return declared.get_metadata("initialiser")(rng, declared.shape)


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.zeros(shape, np.float32)


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.ones(shape, np.float32)


def uniform_fan_in(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Uniform within 1 / sqrt(fan-in), as PyTorch draws convolutions and dense layers, and so the original."""
    bound = math.prod(shape[:-1]) ** -0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)
