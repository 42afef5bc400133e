"""`flowseg export --to torch`: a run as a checkpoint of the original PyTorch experiment."""

from pathlib import Path
from typing import Any

import numpy as np

from flowseg.config import Config
from flowseg.errors import UserError, pip_install
from flowseg.files import replaced_file
from flowseg.interop.torch_names import HEADS, PREFIX, PUBLISHED_TARGET, entries
from flowseg.models.network import Params, by_name
from flowseg.runs.trained import Trained

LEVELS = 4
LIGHTNING = "2.5.0"
"""The version of PyTorch Lightning that the original's checkpoints name; Lightning asks for one when it reads them."""


def export_torch(params: Params, config: Config) -> dict[str, np.ndarray]:
    """Returns the original's `state_dict` of a network, float32 arrays by name: the inverse of `import_torch`.

    Raises:
        UserError: a config that the original does not have.
    """
    _check_original(config)
    arrays = by_name(params)
    heads = [str(stage) for stage in config.model.film.stages]
    table = list(entries(config.model, PREFIX, heads))
    assert {ours for _, ours, _ in table} == set(arrays), "parameters without an original name"
    return {
        torch: np.ascontiguousarray(layout.to_torch(np.asarray(arrays[ours], np.float32)))
        for torch, ours, layout in table
    }


def write_ckpt(trained: Trained, out: Path) -> None:
    """Writes the averaged parameters as the original's Lightning checkpoint, a new file that `read_ckpt` reads.

    Raises:
        UserError: a config that the original does not have, or no PyTorch.
    """
    config = trained.run.config
    arrays = export_torch(trained.params, config)
    try:
        import torch
    except ImportError:
        raise UserError(f"writing .ckpt files needs PyTorch; install it with: {pip_install('flowseg[vlm]')}") from None
    size, model, stages = config.data.crop, config.model, list(config.model.film.stages)
    hyper: dict[str, Any] = {
        "arch_name": "medsegdiff_flow",
        "image_size": size,
        "model_channels": model.dim,
        "channel_mult": list(model.multipliers),
        "attn_resolutions": [size // 2**level for level in model.full_attention_levels],
        "use_vlm_film": bool(stages),
    }
    content: dict[str, Any] = {
        "pytorch-lightning_version": LIGHTNING,
        "global_step": trained.step,
        "state_dict": {name: torch.from_numpy(array) for name, array in arrays.items()},
        "hyper_parameters": hyper,
    }
    if stages:
        hyper["vlm_film_decoder_stages"] = content["vlm_film_trained_stages"] = stages
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(out) as part, part.open("wb") as file:
        torch.save(content, file)


def import_options(config: Config) -> str:
    """Returns the options by which `flowseg import-torch` reads the checkpoint as it was: it does not record these."""
    options = {
        "--flow": (config.flow.family, "binary"),
        "--target": (config.data.target, PUBLISHED_TARGET[config.flow.family]),
        "--film-point": (config.model.film.point, "after_block1"),
    }
    return "".join(f" {name} {value}" for name, (value, default) in options.items() if value != default)


def _check_original(config: Config) -> None:
    """Raises a UserError that names the first field for which the original has no place."""
    model, film = config.model, config.model.film
    different = len(set(model.multipliers)) == LEVELS or not film.stages
    for field, value, fits, has in (
        (
            "flow.family",
            config.flow.family,
            config.flow.family in ("binary", "gaussian"),
            "a binary or a gaussian flow",
        ),
        ("model.patch", model.patch, model.patch == 1, "patches of 1 pixel"),
        ("model.multipliers", model.multipliers, len(model.multipliers) == LEVELS, f"{LEVELS} levels"),
        (
            "model.multipliers",
            model.multipliers,
            different,
            "levels of different widths, which tell its FiLM heads apart",
        ),
        ("model.heads", model.heads, model.heads == HEADS, f"{HEADS} heads"),
        ("model.film.junction_radius", film.junction_radius, film.junction_radius == 0, "no gate at junctions"),
    ):
        if not fits:
            remedy = "export it --to safetensors or stablehlo"
            raise UserError(f"{field} = {value}: the original PyTorch network has {has}; {remedy}")
