"""Weights from checkpoints of the original PyTorch experiment.

Every entry of an original `state_dict` becomes a parameter of this package (flowseg.interop.torch_names). Nothing is
guessed: an entry that is missing, unknown or of the wrong shape raises an error that names it.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from flowseg.config import FilmConfig, FilmPoint, ModelConfig
from flowseg.errors import UserError, first_of
from flowseg.interop.torch_names import CONDITIONER, FILM_HEADS, HEADS, entries
from flowseg.models.kernels import PLAIN
from flowseg.models.unet import UNet

Arrays = Mapping[str, np.ndarray]


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
    state_dict = {str(name): value for name, value in state_dict.items()}
    named = {name.removeprefix("param/"): state_dict[name] for name in state_dict if name.startswith("param/")}
    return {name: _array(name, value) for name, value in (named or state_dict).items()}


def _array(name: str, value: object) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # PyTorch's types that NumPy lacks
        raise UserError(f"state_dict: entry {name} cannot be read ({error}); save it in float32") from None
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise UserError(f"state_dict: entry {name} is no array of finite numbers; give an unchanged checkpoint")
    return array


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
        converted = layout.of_torch(value) if value.ndim >= 1 else value
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
