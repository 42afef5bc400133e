"""The costly operations of the network, in two forms that compute the same.

plain.py is the formulas as they are written. blocks.py works in blocks that stay in a CPU's caches. Their functions
have equal signatures. A network is handed one set of them when it is made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from jaxtyping import Array

from flowseg.models.kernels import blocks, plain


@dataclass(frozen=True)
class Kernels:
    """One form of each operation. plain.py says what they do."""

    convolve: Callable[..., Array]
    attend: Callable[..., Array]
    softmax_pool: Callable[..., Array]
    map_positions: Callable[..., Array]


PLAIN = Kernels(plain.convolve, plain.attend, plain.softmax_pool, plain.map_positions)
BLOCKS = Kernels(blocks.convolve, blocks.attend, blocks.softmax_pool, blocks.map_positions)
FLASH = replace(PLAIN, attend=partial(plain.attend, softmax_attention=plain.flash_attention))


def choose(platform: str, precision: str) -> Kernels:
    """Returns the kernels for a device.

    Args:
        platform: `jax.Device.platform`: "cpu", "gpu", "tpu".
        precision: the config's, "float32" or "bf16". cuDNN's flash attention takes 16-bit inputs only.
    """
    if platform == "cpu":
        return BLOCKS
    return FLASH if (platform, precision) == ("gpu", "bf16") else PLAIN
