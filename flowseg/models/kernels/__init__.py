"""The costly operations of the network, in forms that compute the same.

plain.py is the formulas as they are written, flash.py the attention of GPUs. blocks.py works in blocks that
stay in a CPU's caches. Their functions have equal signatures. A network is handed one set of them when it is made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
from jaxtyping import Array

from flowseg.models.kernels import blocks, flash, plain


@dataclass(frozen=True)
class Kernels:
    """One form of each operation. plain.py says what they do."""

    convolve: Callable[..., Array]
    attend: Callable[..., Array]
    softmax_pool: Callable[..., Array]
    map_positions: Callable[..., Array]


PLAIN = Kernels(plain.convolve, plain.attend, plain.softmax_pool, plain.map_positions)
BLOCKS = Kernels(blocks.convolve, blocks.attend, blocks.softmax_pool, blocks.map_positions)
FLASH = replace(
    PLAIN, attend=partial(plain.attend, softmax_attention=flash.attention), softmax_pool=flash.softmax_pool
)
NAMES = {BLOCKS: "blocks that stay in a CPU's caches", PLAIN: "XLA's", FLASH: "cuDNN's flash attention"}


def choose(device: jax.Device, precision: str) -> Kernels:
    """Returns the kernels for a device.

    Args:
        device: what they run on. GPUs from compute capability 8.0 (Ampere) on have cuDNN's flash attention.
        precision: the config's, "float32" or "bf16". Where JAX is told to compute float32 products exactly
            (`JAX_DEFAULT_MATMUL_PRECISION=highest`), float32 has no attention by 16-bit inputs.
    """
    if device.platform == "cpu":
        return BLOCKS
    exact = precision == "float32" and jax.config.jax_default_matmul_precision in ("highest", "float32")
    return FLASH if has_half_precision(device) and not exact else PLAIN


def has_half_precision(device: jax.Device) -> bool:
    """Returns whether a device is a GPU with bfloat16 products, TF32 and flash attention: Ampere or later."""
    return device.platform == "gpu" and float(device.compute_capability) >= 8
