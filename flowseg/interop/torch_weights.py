"""Weights from checkpoints of the original PyTorch experiment.

The functions below pair every name of an original `state_dict` with a parameter of this package. Nothing is guessed:
an entry that is missing, unknown or of the wrong shape raises an error that names it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from flowseg.config import FilmConfig, FilmPoint, ModelConfig
from flowseg.errors import UserError, first_of
from flowseg.models.kernels import PLAIN
from flowseg.models.unet import UNet

Layout = Callable[[np.ndarray], np.ndarray]
Entry = tuple[str, str, Layout]
Arrays = Mapping[str, np.ndarray]

# The original has four heads; the shapes only show heads x width of a head.
HEADS = 4
CONDITIONER = "vlm_film_conditioner.image_to_cond"
FILM_HEADS = "vlm_film_heads"


def _same(a: np.ndarray) -> np.ndarray:
    return a


def _conv(a: np.ndarray) -> np.ndarray:
    return a.transpose(2, 3, 1, 0)


def _dense(a: np.ndarray) -> np.ndarray:
    return a.reshape(a.shape[:2]).T if a.ndim == 2 or a.shape[2:] == (1, 1) else a


def _channel(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1) if a.shape == (1, a.size, 1, 1) else a


def _spectrum(a: np.ndarray) -> np.ndarray:
    return a.transpose(1, 2, 0)


def _weights(torch: str, ours: str, layout: Layout) -> Iterator[Entry]:
    yield f"{torch}.weight", f"{ours}.kernel", layout
    yield f"{torch}.bias", f"{ours}.bias", _same


def _norm(torch: str, ours: str, gain: str = "gain") -> Iterator[Entry]:
    yield f"{torch}.weight", f"{ours}.{gain}", _same
    yield f"{torch}.bias", f"{ours}.bias", _same


def _block(torch: str, ours: str, *, time: bool = True, residual: bool = False) -> Iterator[Entry]:
    for i in (1, 2):
        yield from _weights(f"{torch}.block{i}.proj", f"{ours}.conv{i}", _conv)
        yield from _norm(f"{torch}.block{i}.norm", f"{ours}.norm{i}")
    if time:
        yield from _weights(f"{torch}.mlp.1", f"{ours}.time", _dense)
    if residual:
        yield from _weights(f"{torch}.res_conv", f"{ours}.residual", _dense)


def _attention(torch: str, ours: str, *, full: bool) -> Iterator[Entry]:
    yield f"{torch}.fn.pre_norm.g", f"{ours}.norm.gain", _channel
    yield f"{torch}.fn.to_qkv.weight", f"{ours}.qkv.kernel", _dense
    if full:
        yield from _weights(f"{torch}.fn.to_out", f"{ours}.out", _dense)
    else:
        yield from _weights(f"{torch}.fn.to_out.0", f"{ours}.out", _dense)
        yield f"{torch}.fn.to_out.1.g", f"{ours}.out_norm.gain", _channel


def _base(config: ModelConfig) -> Iterator[Entry]:
    """Yields the entries of the base network, without the prefix that the original's wrappers add."""
    last = len(config.multipliers) - 1
    yield from _weights("init_conv", "stem_mask", _conv)
    yield from _weights("cond_init_conv", "stem_image", _conv)
    yield from _weights("time_mlp.1", "time.dense1", _dense)
    yield from _weights("time_mlp.3", "time.dense2", _dense)
    for level in range(last + 1):
        full = level in config.full_attention_levels
        for torch, path in (("downs", "mask"), ("cond_downs", "image")):
            ours = f"encoder.{level}.{path}"
            yield from _block(f"{torch}.{level}.0", f"{ours}.block1")
            yield from _block(f"{torch}.{level}.1", f"{ours}.block2")
            yield from _attention(f"{torch}.{level}.2", f"{ours}.attention", full=full)
            yield from _weights(f"{torch}.{level}.3" + ("" if level == last else ".0"), f"{ours}.down", _conv)
        torch, ours = f"conditioners.{level}", f"encoder.{level}.conditioner"
        yield f"{torch}.ff_parser_attn_map", f"{ours}.spectrum", _spectrum
        for theirs, norm in (("norm_input", "norm_x"), ("norm_condition", "norm_c")):
            yield f"{torch}.{theirs}.g", f"{ours}.{norm}.gain", _channel
            yield f"{torch}.{theirs}.b", f"{ours}.{norm}.bias", _channel
        yield from _block(f"{torch}.block", f"{ours}.block", time=False)
    yield from _block("mid_block1", "middle.mask_block")
    yield from _block("cond_mid_block1", "middle.image_block")
    layer = "mid_transformer.layers.0"
    for index, cross in ((0, "middle.cross1"), (3, "middle.cross2")):
        for side in "xc":
            yield f"{layer}.{index}.fn.pre_norm_{side}.g", f"{cross}.norm_{side}.gain", _channel
            yield f"{layer}.{index}.fn.to_qkv_{side}.weight", f"{cross}.qkv_{side}.kernel", _dense
        yield from _weights(f"{layer}.{index}.fn.to_out", f"{cross}.out", _dense)
    for index, feed in ((1, "middle.feed1"), (2, "middle.feed2")):
        yield f"{layer}.{index}.fn.0.g", f"{feed}.norm.gain", _channel
        yield from _weights(f"{layer}.{index}.fn.1", f"{feed}.dense1", _dense)
        yield from _weights(f"{layer}.{index}.fn.3", f"{feed}.dense2", _dense)
    yield from _block("mid_block2", "middle.last_block")
    for stage in range(last + 1):
        level = last - stage
        torch, ours = f"ups.{stage}", f"decoder.{stage}"
        yield from _block(f"{torch}.0", f"{ours}.block1", residual=True)
        yield from _block(f"{torch}.1", f"{ours}.block2", residual=True)
        yield from _attention(f"{torch}.2", f"{ours}.attention", full=level in config.full_attention_levels)
        if level == 0:
            yield from _weights(f"{torch}.3", f"{ours}.up", _conv)
        else:
            yield from _weights(f"{torch}.3.1", f"{ours}.up.conv", _conv)
    yield from _block("final_res_block", "head_block", residual=True)
    yield from _weights("final_conv", "head", _dense)


def _film(config: ModelConfig, names: list[str]) -> Iterator[Entry]:
    yield from _weights(f"{CONDITIONER}.proj", "film.conditioner.dense", _dense)
    yield from _norm(f"{CONDITIONER}.ln", "film.conditioner.norm", "scale")
    for index, name in enumerate(names):
        torch, ours = f"{FILM_HEADS}.{name}", f"film.heads.{index}"
        yield from _norm(f"{torch}.ln", f"{ours}.norm", "scale")
        yield from _weights(f"{torch}.mlp.0", f"{ours}.dense1", _dense)
        yield from _weights(f"{torch}.mlp.2", f"{ours}.dense2", _dense)


def entries(config: ModelConfig, prefix: str, head_names: list[str]) -> Iterator[Entry]:
    """Yields (original name, parameter path, layout change) for every parameter of a network.

    `prefix` stands before the base network's names, `unet.base_unet.` in the published checkpoints; `head_names` are
    the original names of the FiLM heads, in the order of `config.film.stages`.
    """
    for torch, ours, layout in _base(config):
        yield prefix + torch, ours, layout
    if config.film.stages:
        yield from _film(config, head_names)


def _shape(arrays: Arrays, name: str, ndim: int) -> tuple[int, ...]:
    """Returns the shape of an entry that must exist and have `ndim` dimensions."""
    if name not in arrays:
        raise UserError(f"state_dict: missing entry {name}: give a checkpoint of the original experiment")
    shape = arrays[name].shape
    if len(shape) != ndim:
        raise UserError(f"state_dict: entry {name} has shape {shape}: expected {ndim} dimensions")
    return shape


def _infer(
    arrays: Arrays, prefix: str, image_size: int, full_attention_at: tuple[int, ...], point: FilmPoint
) -> tuple[ModelConfig, list[str]]:
    """Returns the config of a network and the names of its FiLM heads, inferred from the shapes of its arrays."""
    dim = _shape(arrays, f"{prefix}init_conv.weight", 4)[0]
    outs = [_shape(arrays, f"{prefix}downs.{i}.3{'' if i == 3 else '.0'}.weight", 4)[0] for i in range(4)]
    if any(out % dim for out in outs):
        raise UserError(f"state_dict: level widths {outs} are not multiples of the stem's {dim}")
    sizes = [image_size // 2**level for level in range(4)]
    for size in full_attention_at:
        if size not in sizes:
            crops = f"{image_size}x{image_size} crops"
            raise UserError(f"full_attention_at: {size} is no map size of {crops}: choose from {sizes}")
    inner = _shape(arrays, f"{prefix}downs.0.2.fn.to_qkv.weight", 4)[0]
    if inner % (3 * HEADS):
        raise UserError(f"state_dict: {prefix}downs.0.2.fn.to_qkv.weight has {inner} rows: not 3 x {HEADS} heads")
    heads = sorted({name.split(".")[1] for name in arrays if name.startswith(f"{FILM_HEADS}.")})
    film = FilmConfig()
    if heads or any(name.startswith(CONDITIONER) for name in arrays):
        condition, embedding = _shape(arrays, f"{CONDITIONER}.proj.weight", 2)
        # The width of a head identifies its stage, because the four decoder widths differ.
        by_width = {outs[3 - stage]: stage for stage in range(4)}
        stages: dict[int, str] = {}
        hidden = 0
        for head in heads:
            rows, hidden = _shape(arrays, f"{FILM_HEADS}.{head}.mlp.2.weight", 2)
            stage = by_width.get(rows // 2)
            if stage is None or stage in stages or rows % 2:
                raise UserError(f"state_dict: {FILM_HEADS}.{head}.mlp.2.weight: no decoder stage fits its {rows} rows")
            stages[stage] = head
        if not stages:
            raise UserError(f"state_dict: missing entry {FILM_HEADS}.*: a conditioner without FiLM heads")
        film = FilmConfig(
            stages=tuple(sorted(stages)),
            point=point,
            embedding_width=embedding,
            condition_width=condition,
            hidden_width=hidden,
        )
        heads = [stages[stage] for stage in sorted(stages)]
    config = ModelConfig(
        dim=dim,
        multipliers=(outs[0] // dim, outs[1] // dim, outs[2] // dim, outs[3] // dim),
        heads=HEADS,
        head_dim=inner // (3 * HEADS),
        full_attention_levels=tuple(level for level in range(4) if sizes[level] in full_attention_at),
        film=film,
    )
    return config, heads


def _arrays(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns arrays by their original names, from a state_dict, a loaded .ckpt, or the parity archive."""
    inner = state_dict.get("state_dict")
    if isinstance(inner, Mapping):
        state_dict = inner
    named = {name.removeprefix("param/"): state_dict[name] for name in state_dict if name.startswith("param/")}
    return {name: np.asarray(value) for name, value in (named or state_dict).items()}


def import_torch(
    state_dict: Mapping[str, Any],
    *,
    image_size: int,
    full_attention_at: tuple[int, ...],
    film_point: FilmPoint = "after_block1",
) -> UNet:
    """Returns the float32 network of an original checkpoint; widths and FiLM stages are inferred from its shapes.

    `state_dict` holds arrays by name (numpy, or torch on CPU): a `state_dict`, a loaded `.ckpt` that holds one, or an
    archive whose parameters are called `param/<name>`. What the weights do not show has to be given: the side of the
    training crops in pixels, the sides of the maps with softmax attention, for example (80, 40), and where FiLM acts.
    The model is called as `model(x, t, image, embedding=None)` on (B, H, W, 1) maps.

    Raises:
        UserError: an entry is missing, unknown or of the wrong shape.
    """
    arrays = _arrays(state_dict)
    stems = [n for n in arrays if n == "init_conv.weight" or n.endswith(".init_conv.weight")]
    if len(stems) != 1:
        raise UserError(f"state_dict: missing entry init_conv.weight: found {len(stems)}, expected 1")
    prefix = stems[0][: -len("init_conv.weight")]
    config, heads = _infer(arrays, prefix, image_size, tuple(full_attention_at), film_point)
    model = UNet(config, image_size, kernels=PLAIN)
    table = list(entries(config, prefix, heads))
    expected = {torch for torch, _, _ in table}
    missing = [torch for torch, _, _ in table if torch not in arrays]
    surplus = [name for name in arrays if name not in expected]
    if missing:
        raise UserError(f"state_dict: missing entry {first_of(missing)}: check full_attention_at={full_attention_at}")
    if surplus:
        raise UserError(f"state_dict: surplus entry {first_of(surplus)}: this network has no place for it")
    state = nnx.state(model, nnx.Param)
    leaves = {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
    filled = set()
    for torch, ours, layout in table:
        value = arrays[torch]
        leaf = leaves[ours]
        converted = layout(value) if value.ndim >= 1 else value
        if converted.shape != leaf.shape:
            raise UserError(
                f"state_dict: entry {torch} has shape {value.shape}, which becomes {converted.shape}: "
                f"expected {leaf.shape} for {ours}"
            )
        leaf.set_value(jnp.asarray(converted, jnp.float32))
        filled.add(ours)
    assert filled == set(leaves), f"parameters without an original name: {sorted(set(leaves) - filled)}"
    nnx.update(model, state)
    return model
