"""An exported model: a folder with the averaged parameters of a run and what is needed to use them.

    config.json         as in a run's folder; `exported` says what the weights are (the class `Exported`); has a digest
    model.safetensors   the averaged parameters by name, float32 (flowseg.models.network.by_name)
    threshold.json      the tuned threshold and minimum component size, if the run has them
    README.md           the model card

`open_run` in `flowseg/runs/folder.py` opens it as it opens a run. It has no training state and no data of its own.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from flowseg.config import Config
from flowseg.embeddings.tensor_file import save_file
from flowseg.errors import UserError
from flowseg.models.network import Params, abstract_params, by_name
from flowseg.runs.flat import check_names, description_digest

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
_DTYPE = "F32"


@dataclass(frozen=True)
class Exported:
    """What the config.json of an exported model says of its weights."""

    step: int
    """Step of the checkpoint that they are from."""
    best_dice: float | None
    """Its validation Dice; None for an imported run, as is the digest."""
    data: str | None
    """Digest of the images and embeddings that the run was trained on."""
    sha256: str
    """Of the file of weights."""

    def content(self) -> dict[str, Any]:
        """Returns what config.json holds."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of_description(cls, description: dict[str, Any]) -> "Exported":
        """Returns what config.json says, all of which is given.

        Raises:
            UserError: another version of the format, or a description that does not match its digest.
            ValueError, KeyError, TypeError: something else.
        """
        content = description["exported"]
        if content["format"] != FORMAT:
            raise UserError(
                f"was exported by another version of flowseg (format {content['format']}, this one reads {FORMAT}); "
                "use that version, or export the run again"
            )
        if not isinstance(content["step"], int) or not isinstance(content["sha256"], str):
            raise TypeError(f"exported = {content}")
        # Older versions wrote none.
        if "digest" in description and description["digest"] != description_digest(description):
            raise UserError("does not match its digest: it has been damaged or changed; export the model again")
        return cls(content["step"], content["best_dice"], content["data"], content["sha256"])


def write_weights(folder: Path, params: Params) -> str:
    """Writes the parameters into a folder and returns the file's SHA-256; the same values give the same bytes."""
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in by_name(params).items()}
    save_file(arrays, folder / WEIGHTS_FILE, {"format": f"flowseg-{FORMAT}"})
    return _sha256(folder / WEIGHTS_FILE)


def read_weights(folder: Path, exported: Exported, config: Config) -> Params:
    """Returns the parameters of an exported model, a tree of numpy arrays.

    Raises:
        UserError: the file is missing or damaged, or does not hold exactly the parameters of the config's network.
    """
    file = folder / WEIGHTS_FILE
    try:
        if _sha256(file) != exported.sha256:
            raise UserError(f"{file}: is damaged (its SHA-256 is not that of config.json); copy or export it again")
        with safe_open(file, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (it is no dict)
            held = {name: f"{part.get_dtype()}{part.get_shape()}" for name, part in slices.items()}
            declared = abstract_params(config)
            wanted = {name: f"{_DTYPE}{list(leaf.shape)}" for name, leaf in by_name(declared).items()}
            check_names(held, wanted, str(file))
            arrays = [opened.get_tensor(name) for name in wanted]
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file}: cannot be read ({reason}); copy or export the model again") from None
    return jax.tree.unflatten(jax.tree.structure(declared), arrays)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
