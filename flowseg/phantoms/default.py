"""Where a config's images are: the user's folder, or the phantoms drawn into the cache."""

from pathlib import Path

from flowseg.config import DataConfig
from flowseg.phantoms.angiogram import COUNTS, phantom_root, write_phantoms
from flowseg.progress import console, task


def data_root(config: DataConfig) -> Path:
    """The data set's folder; without a `root` the phantoms, drawn now if they are not in the cache yet."""
    if config.root is not None:
        return Path(config.root)
    root = phantom_root()
    if not root.exists():
        console.print(f"no data given: drawing {sum(COUNTS.values())} phantom angiograms into {root}")
        with task("phantoms", sum(COUNTS.values())) as advance:
            write_phantoms(root, on_image=lambda done, total: advance())
    return root
