"""Which images a config trains on: the user's folder, or the phantoms drawn into the cache."""

from pathlib import Path

from flowseg.config import DataConfig
from flowseg.errors import UserError
from flowseg.files import cache_folder
from flowseg.phantoms.angiogram import COUNTS, PHANTOM_VERSION, write_phantoms
from flowseg.phantoms.tree import REFERENCE_SIZE
from flowseg.progress import console


def phantom_root() -> Path:
    """Returns the folder in the cache that holds the default phantoms of this version."""
    return cache_folder() / f"phantom-v{PHANTOM_VERSION}-{REFERENCE_SIZE}-seed0"


def data_root(config: DataConfig) -> Path:
    """Returns the data set's folder; without a `root` these are the phantoms, drawn if the cache lacks them."""
    if config.root is not None:
        return Path(config.root)
    root = phantom_root()
    if not root.exists():
        console.print(f"no data given: drawing {sum(COUNTS.values())} phantom angiograms into {root}")
        try:
            write_phantoms(root)
        except OSError as error:
            remedy = "free some space, name another cache folder by FLOWSEG_CACHE, or give --data.root"
            raise UserError(f"{root}: cannot be written ({error.strerror}); {remedy}") from None
    return root
