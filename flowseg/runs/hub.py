"""Exported models on the Hugging Face hub, named hf://OWNER/NAME or hf://OWNER/NAME@REVISION."""

import re
from pathlib import Path

from flowseg.cache import hub_cache
from flowseg.errors import UserError

_FILES = ("config.json", "model.safetensors", "threshold.json")


def local_folder(path: Path) -> Path:
    """Returns the folder of a model: `path`, or for a model on the hub the hub's cache, after a download if needed.

    Raises:
        UserError: a name that the hub cannot have, no huggingface_hub, or a model that cannot be downloaded.
    """
    if path.parts[:1] != ("hf:",):
        return path
    name = "/".join(path.parts[1:])  # a Path drops the second slash of hf://
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if found is None:
        raise UserError(f"hf://{name}: is no model on the hub; name it hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        remedy = "install it with: pip install 'flowseg[vlm]'"
        raise UserError(f"hf://{name}: models on the hub need huggingface_hub; {remedy}") from None
    try:
        where = hub_cache()
        return Path(snapshot_download(found[1], revision=found[2], allow_patterns=list(_FILES), cache_dir=where))
    except (OSError, ValueError) as error:  # the hub's errors are among them
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"hf://{name}: cannot be downloaded ({reason}); check name, network and access") from None
