"""Names of models that are not folders: those that come with flowseg, and hf://OWNER/NAME on the Hugging Face hub."""

import re
from functools import cache
from pathlib import Path

from flowseg.cache import hub_cache
from flowseg.errors import UserError, pip_install
from flowseg.progress import console

PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"
"""Holds the exported models that come with flowseg, a folder each."""
_FILES = ("config.json", "model.safetensors", "threshold.json")


def pretrained() -> list[str]:
    """Returns the names of the models that come with flowseg."""
    return sorted(file.parent.name for file in PRETRAINED.glob("*/config.json"))


def local_folder(path: Path) -> Path:
    """Returns the folder of a model that is given by its name, after a download if needed; any other path as it is.

    Raises:
        UserError: a name that the hub cannot have, no huggingface_hub, or a model that cannot be downloaded.
    """
    if path.parts[:1] == ("hf:",):
        return _of_hub("/".join(path.parts[1:]))  # a Path drops the second slash of hf://
    return PRETRAINED / path if str(path) in pretrained() else path


@cache
def tell_if_hidden(path: Path) -> None:
    """Says, once, that a run is used in place of the model of its name that comes with flowseg."""
    if str(path) in pretrained():
        console.print(
            f"NOTE: {path}: the run in this folder is used, not the model of this name that comes with flowseg"
        )


def _of_hub(name: str) -> Path:
    """Returns the folder of a model in the hub's cache."""
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if found is None:
        raise UserError(f"hf://{name}: is no model on the hub; name it hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        remedy = f"install it with: {pip_install('flowseg[vlm]')}"
        raise UserError(f"hf://{name}: models on the hub need huggingface_hub; {remedy}") from None
    try:
        where = hub_cache()
        return Path(snapshot_download(found[1], revision=found[2], allow_patterns=list(_FILES), cache_dir=where))
    except (OSError, ValueError) as error:  # the hub's errors are among them
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"hf://{name}: cannot be downloaded ({reason}); check name, network and access") from None
