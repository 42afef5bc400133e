"""Finding, checking and identifying Qwen2.5-VL checkpoints on this machine. Nothing is downloaded."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowseg.cache import expanded, hub_cache
from flowseg.errors import UserError
from flowseg.files import parse_json

MODEL_TYPE = "qwen2_5_vl"
LOCAL_FOLDER = "local folder"
"""The name of a model that is in a folder of its own, not in the hub's cache."""
_DIGESTED = (".json", ".jinja", ".txt", ".safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, and its name and version."""

    name: str
    """Its name on the hub, or `LOCAL_FOLDER`."""
    revision: str
    """The commit of a hub snapshot, or a hash of the files of another folder."""
    folder: Path
    weights: tuple[Path, ...]


def _digest(folder: Path) -> str:
    """Returns a hash of all files that the vectors depend on; it takes about a second per gigabyte."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.iterdir()):
        if path.suffix in _DIGESTED and path.is_file():
            with path.open("rb") as file:
                total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "blake2b").digest())
    return f"blake2b-{total.hexdigest()}"


def _snapshot(name: str) -> Path:
    """Returns the folder of a model in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True, cache_dir=hub_cache()))
    except HFValidationError:
        raise UserError(f"--model {name}: is neither a folder nor a model's name on the hub; correct it") from None
    except LocalEntryNotFoundError:
        raise UserError(f"{name}: is not on this machine; get it with: hf download {name}") from None


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path.parent}: has no {path.name}, so it is not {what}; give another --model") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); get the model again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a JSON object; get the model again")
    return content


def _weights(folder: Path, again: str) -> tuple[Path, ...]:
    """Returns the safetensors files that hold the weights."""
    index = folder / "model.safetensors.index.json"
    files = [file for file in [folder / "model.safetensors"] if file.is_file()]
    if index.is_file():
        listed = _read_json(index, "a model").get("weight_map")
        files = [folder / name for name in sorted(set(listed.values()))] if isinstance(listed, dict) else []
    if not files:
        raise UserError(f"{folder}: has no weights (model.safetensors or model.safetensors.index.json); {again}")
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise UserError(f"{folder}: {len(absent)} of {len(files)} weight files are missing ({absent[0]}); {again}")
    return tuple(files)


def find_checkpoint(model: str) -> Checkpoint:
    """Returns a checkpoint, given by its folder or by its name in the hub's cache.

    Raises:
        UserError: the model is not on this machine, has no weights, or is not a Qwen2.5-VL.
    """
    folder = expanded(model, "--model")
    local = folder.is_dir()
    if not local:
        if model.startswith((".", "/", "~")) or model.count("/") != 1:
            raise UserError(f"--model {model}: no such folder; give a model's folder, or a name like OWNER/MODEL")
        folder = _snapshot(model)
    again = "copy the whole model there" if local else f"get them with: hf download {model}"
    config = _read_json(folder / "config.json", "a model's folder")
    kind = config.get("model_type")
    if kind != MODEL_TYPE:
        raise UserError(f"{model}: is a {kind} model, not {MODEL_TYPE}; give a Qwen2.5-VL model")
    weights = _weights(folder, again)
    if re.fullmatch(r"[0-9a-f]{40}", folder.resolve().name) and folder.resolve().parent.name == "snapshots":
        repository = folder.resolve().parents[1].name.removeprefix("models--").replace("--", "/")
        return Checkpoint(repository, folder.resolve().name, folder, weights)
    return Checkpoint(LOCAL_FOLDER, _digest(folder), folder, weights)
