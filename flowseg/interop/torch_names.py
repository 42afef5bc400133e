"""The names and layouts of the original PyTorch experiment: each entry of its `state_dict`, and the parameter it is.

`entries` pairs every name with a parameter of this package, for the import and for the export.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from flowseg.config import Family, ModelConfig, TargetKind

# The original has four heads; the shapes only show heads x width of a head.
HEADS = 4
PREFIX = "unet.base_unet."
"""What stands before the base network's names in the published checkpoints."""
CONDITIONER = "vlm_film_conditioner.image_to_cond"
FILM_HEADS = "vlm_film_heads"
PUBLISHED_TARGET: dict[Family, TargetKind] = {"binary": "mask", "gaussian": "sauna"}
"""The target maps with which each of the original's flows was published."""


def _same(a: np.ndarray) -> np.ndarray:
    return a


def _squeezed(a: np.ndarray) -> np.ndarray:
    """Returns the matrix of a linear layer or of a convolution of 1x1 pixels, inputs first."""
    return a.reshape(a.shape[:2]).T if a.ndim == 2 or a.shape[2:] == (1, 1) else a


@dataclass(frozen=True)
class Layout:
    """How an array of the original becomes a parameter, and how that becomes the original's array again."""

    of_torch: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


SAME = Layout(_same, _same)
CONV = Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
LINEAR = Layout(_squeezed, lambda a: a.T)
POINTWISE = Layout(_squeezed, lambda a: a.T[:, :, None, None])
"""A convolution of 1x1 pixels, which is a linear layer here."""
CHANNEL = Layout(lambda a: a.reshape(-1) if a.shape == (1, a.size, 1, 1) else a, lambda a: a.reshape(1, -1, 1, 1))
SPECTRUM = Layout(lambda a: a.transpose(1, 2, 0), lambda a: a.transpose(2, 0, 1))

Entry = tuple[str, str, Layout]
"""The original's name, the parameter's path, and the layout."""


def _weights(torch: str, ours: str, layout: Layout) -> Iterator[Entry]:
    yield f"{torch}.weight", f"{ours}.kernel", layout
    yield f"{torch}.bias", f"{ours}.bias", SAME


def _norm(torch: str, ours: str, gain: str = "gain") -> Iterator[Entry]:
    yield f"{torch}.weight", f"{ours}.{gain}", SAME
    yield f"{torch}.bias", f"{ours}.bias", SAME


def _block(torch: str, ours: str, *, time: bool = True, residual: bool = False) -> Iterator[Entry]:
    for i in (1, 2):
        yield from _weights(f"{torch}.block{i}.proj", f"{ours}.conv{i}", CONV)
        yield from _norm(f"{torch}.block{i}.norm", f"{ours}.norm{i}")
    if time:
        yield from _weights(f"{torch}.mlp.1", f"{ours}.time", LINEAR)
    if residual:
        yield from _weights(f"{torch}.res_conv", f"{ours}.residual", POINTWISE)


def _attention(torch: str, ours: str, *, full: bool) -> Iterator[Entry]:
    yield f"{torch}.fn.pre_norm.g", f"{ours}.norm.gain", CHANNEL
    yield f"{torch}.fn.to_qkv.weight", f"{ours}.qkv.kernel", POINTWISE
    if full:
        yield from _weights(f"{torch}.fn.to_out", f"{ours}.out", POINTWISE)
    else:
        yield from _weights(f"{torch}.fn.to_out.0", f"{ours}.out", POINTWISE)
        yield f"{torch}.fn.to_out.1.g", f"{ours}.out_norm.gain", CHANNEL


def _base(config: ModelConfig) -> Iterator[Entry]:
    """Yields the entries of the base network, without the prefix that the original's wrappers add."""
    last = len(config.multipliers) - 1
    yield from _weights("init_conv", "stem_mask", CONV)
    yield from _weights("cond_init_conv", "stem_image", CONV)
    yield from _weights("time_mlp.1", "time.dense1", LINEAR)
    yield from _weights("time_mlp.3", "time.dense2", LINEAR)
    for level in range(last + 1):
        full = level in config.full_attention_levels
        for torch, path in (("downs", "mask"), ("cond_downs", "image")):
            ours = f"encoder.{level}.{path}"
            yield from _block(f"{torch}.{level}.0", f"{ours}.block1")
            yield from _block(f"{torch}.{level}.1", f"{ours}.block2")
            yield from _attention(f"{torch}.{level}.2", f"{ours}.attention", full=full)
            yield from _weights(f"{torch}.{level}.3" + ("" if level == last else ".0"), f"{ours}.down", CONV)
        torch, ours = f"conditioners.{level}", f"encoder.{level}.conditioner"
        yield f"{torch}.ff_parser_attn_map", f"{ours}.spectrum", SPECTRUM
        for theirs, norm in (("norm_input", "norm_x"), ("norm_condition", "norm_c")):
            yield f"{torch}.{theirs}.g", f"{ours}.{norm}.gain", CHANNEL
            yield f"{torch}.{theirs}.b", f"{ours}.{norm}.bias", CHANNEL
        yield from _block(f"{torch}.block", f"{ours}.block", time=False)
    yield from _block("mid_block1", "middle.mask_block")
    yield from _block("cond_mid_block1", "middle.image_block")
    layer = "mid_transformer.layers.0"
    for index, cross in ((0, "middle.cross1"), (3, "middle.cross2")):
        for side in "xc":
            yield f"{layer}.{index}.fn.pre_norm_{side}.g", f"{cross}.norm_{side}.gain", CHANNEL
            yield f"{layer}.{index}.fn.to_qkv_{side}.weight", f"{cross}.qkv_{side}.kernel", POINTWISE
        yield from _weights(f"{layer}.{index}.fn.to_out", f"{cross}.out", POINTWISE)
    for index, feed in ((1, "middle.feed1"), (2, "middle.feed2")):
        yield f"{layer}.{index}.fn.0.g", f"{feed}.norm.gain", CHANNEL
        yield from _weights(f"{layer}.{index}.fn.1", f"{feed}.dense1", POINTWISE)
        yield from _weights(f"{layer}.{index}.fn.3", f"{feed}.dense2", POINTWISE)
    yield from _block("mid_block2", "middle.last_block")
    for stage in range(last + 1):
        level = last - stage
        torch, ours = f"ups.{stage}", f"decoder.{stage}"
        yield from _block(f"{torch}.0", f"{ours}.block1", residual=True)
        yield from _block(f"{torch}.1", f"{ours}.block2", residual=True)
        yield from _attention(f"{torch}.2", f"{ours}.attention", full=level in config.full_attention_levels)
        if level == 0:
            yield from _weights(f"{torch}.3", f"{ours}.up", CONV)
        else:
            yield from _weights(f"{torch}.3.1", f"{ours}.up.conv", CONV)
    yield from _block("final_res_block", "head_block", residual=True)
    yield from _weights("final_conv", "head", POINTWISE)


def _film(config: ModelConfig, names: list[str]) -> Iterator[Entry]:
    yield from _weights(f"{CONDITIONER}.proj", "film.conditioner.dense", LINEAR)
    yield from _norm(f"{CONDITIONER}.ln", "film.conditioner.norm", "scale")
    for index, name in enumerate(names):
        torch, ours = f"{FILM_HEADS}.{name}", f"film.heads.{index}"
        yield from _norm(f"{torch}.ln", f"{ours}.norm", "scale")
        yield from _weights(f"{torch}.mlp.0", f"{ours}.dense1", LINEAR)
        yield from _weights(f"{torch}.mlp.2", f"{ours}.dense2", LINEAR)


def entries(config: ModelConfig, prefix: str, head_names: list[str]) -> Iterator[Entry]:
    """Yields (original name, parameter path, layout change) for every parameter of a network.

    `prefix` stands before the base network's names, `unet.base_unet.` in the published checkpoints; `head_names` are
    the original names of the FiLM heads, in the order of `config.film.stages`.
    """
    for torch, ours, layout in _base(config):
        yield prefix + torch, ours, layout
    if config.film.stages:
        yield from _film(config, head_names)
