"""`flowseg import-torch`: turns an original .ckpt file into a run that can be evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from flowseg.config import Config, DataConfig, EvalConfig, FilmPoint, FlowConfig, TargetKind
from flowseg.errors import UserError, pip_install
from flowseg.files import write_text
from flowseg.interop.torch_names import PUBLISHED_TARGET
from flowseg.interop.torch_weights import import_torch
from flowseg.models.network import params_of
from flowseg.models.vector import Layout
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import Run, create_run


@dataclass(frozen=True)
class Averaged:
    """What evaluation needs of a training state; an imported run is not trained on."""

    ema: Float32[np.ndarray, " p"]
    step: np.ndarray


def read_ckpt(path: Path) -> Mapping[str, Any]:
    """Returns the content of a Lightning checkpoint; no code in it is executed (`weights_only`)."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give an original checkpoint (.ckpt)")
    try:
        import torch
    except ImportError:
        raise UserError(f"reading .ckpt files needs PyTorch; install it with: {pip_install('flowseg[vlm]')}") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; each means that this is no plain checkpoint
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: cannot be read as a checkpoint of plain tensors ({reason})") from None
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise UserError(f"{path}: holds no state_dict; give a checkpoint saved by the original's trainer")
    return content


def import_run(
    path: Path,
    out: Path,
    *,
    image_size: int | None = None,
    full_attention_at: tuple[int, ...] | None = None,
    flow: Literal["binary", "gaussian"] = "binary",
    target: TargetKind | None = None,
    film_point: FilmPoint = "after_block1",
) -> Run:
    """Makes a run in the folder `out` from an original checkpoint; sizes that are not given are read from it.

    Args:
        flow: the family that it was trained by, which no checkpoint records. A wrong one gives meaningless masks.
        target: the target map that it was trained on, which no checkpoint records either; None: that of the published
            runs of this flow. Masks do not depend on it, but whether the maps are taken for probabilities does.

    Raises:
        UserError: the file cannot be read, a size is neither given nor in it, or the weights do not fit.
    """
    content = read_ckpt(path)
    hyper = content.get("hyper_parameters") or {}
    if not isinstance(hyper, Mapping):
        raise _wrong(path, "hyper_parameters", hyper)
    size = image_size or _whole(path, hyper, "image_size")
    attention = full_attention_at or _sequence(path, hyper, "attn_resolutions")
    if size is None:
        raise UserError(f"{path}: does not record its image size; give it with --image-size, for example 320")
    if attention is None:
        remedy = "give --full-attention-at, for example 80 40"
        raise UserError(f"{path}: does not record where it has full attention; {remedy}")
    trained, epoch = _sequence(path, content, "vlm_film_trained_stages"), _whole(path, content, "epoch")
    model = import_torch(content["state_dict"], image_size=size, full_attention_at=attention, film_point=film_point)
    stages = model.config.film.stages
    if trained is not None and trained != stages:
        what = f"names the FiLM stages {list(trained)}, but its weights have {list(stages)}"
        raise UserError(f"{path}: {what}; give an unchanged checkpoint")
    # An imported run has no validation images of its own, on which a mask rule could be tuned.
    sampling = EvalConfig(sampler="midpoint", steps=4) if flow == "gaussian" else EvalConfig()
    config = Config(
        name="imported",
        model=model.config,
        flow=FlowConfig(family=flow),
        data=DataConfig(crop=size, target=target or PUBLISHED_TARGET[flow]),
        eval=replace(sampling, min_component=0),
    )
    run = create_run(out, config, None)
    checkpoints = Checkpoints(run.path)
    record = {"best_dice": None, "imported_from": path.name, "epoch": epoch}
    params = params_of(model)
    averaged = Averaged(Layout(params).ravel_host(params), np.zeros((), np.int32))
    checkpoints.save("best", averaged, config, record)
    checkpoints.close()
    write_text(run.path / "done.json", "{}\n")
    return run


def _whole(path: Path, values: Mapping[str, Any], name: str) -> int | None:
    """Returns a whole number that a checkpoint records, or None."""
    value = values.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise _wrong(path, name, value)


def _sequence(path: Path, values: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    """Returns whole numbers that a checkpoint records, or None."""
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(type(item) is int for item in value):
        raise _wrong(path, name, value)
    return tuple(value)


def _wrong(path: Path, name: str, value: object) -> UserError:
    shown = " ".join(repr(value).split())[:60]
    return UserError(f"{path}: its {name} is {shown}; give an unchanged checkpoint of the original experiment")
