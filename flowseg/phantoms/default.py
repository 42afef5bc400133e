"""Which images a config trains on: the user's folder, or the phantoms drawn into the cache."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from flowseg.cache import cache_folder
from flowseg.config import DataConfig
from flowseg.errors import UserError
from flowseg.phantoms.angiogram import COUNTS, PHANTOM_VERSION, write_phantoms
from flowseg.phantoms.tree import REFERENCE_SIZE
from flowseg.progress import console

_DIGEST_FILE = ".digest"


def phantom_root() -> Path:
    """Returns the folder in the cache that holds the default phantoms of this version."""
    return cache_folder() / f"phantom-v{PHANTOM_VERSION}-{REFERENCE_SIZE}-seed0"


def root_of(config: DataConfig) -> Path:
    """Returns the data set's folder, whether it is there or not; without a `root` it is that of the phantoms."""
    return phantom_root() if config.root is None else Path(config.root)


def data_root(config: DataConfig) -> Path:
    """Returns the data set's folder (`root_of`); phantoms are drawn if the cache lacks them.

    Phantoms that are not as they were written are drawn anew, which is reported.
    """
    root = root_of(config)
    if config.root is not None or _is_whole(root):
        return root
    if root.exists():
        console.print(f"NOTE: {root}: is damaged, or of an older flowseg; its phantoms are drawn anew")
    else:
        console.print(f"no data given: drawing {sum(COUNTS.values())} phantom angiograms into {root}")
    try:
        write_phantoms(root, finish=_seal, replace=True)
    except OSError as error:
        remedy = "free some space, name another cache folder by FLOWSEG_CACHE, or give --data.root"
        raise UserError(f"{root}: cannot be written ({error.strerror}); {remedy}") from None
    return root


def _seal(folder: Path, keys: Sequence[str]) -> None:
    """Writes the digest of the finished phantoms beside them."""
    (folder / _DIGEST_FILE).write_text(_digest(folder))


def _is_whole(folder: Path) -> bool:
    """Returns whether phantoms are there, and as they were written."""
    try:
        return (folder / _DIGEST_FILE).read_text() == _digest(folder)
    except (OSError, ValueError):  # missing, unreadable or no text
        return False


def _digest(folder: Path) -> str:
    """Returns a digest of the names and bytes of all files but the one that holds it; it takes 0.1 s."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _DIGEST_FILE:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
