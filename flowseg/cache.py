"""The cache folder, and what stands in for it where the user has no home folder, as in some containers."""

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from flowseg.errors import UserError
from flowseg.progress import messages_on_stderr, warn

VARIABLE = "FLOWSEG_CACHE"
_HUB_VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


def home() -> Path | None:
    """Returns the user's home folder; None if it is not known."""
    try:
        return Path.home()
    except RuntimeError:  # no $HOME, and a user whom the system does not know
        return None


def cache_folder() -> Path:
    """Returns flowseg's cache folder: $FLOWSEG_CACHE, or ~/.cache/flowseg.

    Without a home folder it lies among the temporary files, which is reported.

    Raises:
        UserError: it cannot be told where that is, or it is not the user's own.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return expanded(given, VARIABLE)
    return _temporary() if home() is None else Path.home() / ".cache" / "flowseg"


def hub_cache() -> Path | None:
    """Returns the folder for models of the Hugging Face hub; None for the hub's own, which needs a home folder."""
    if home() is not None or any(os.environ.get(name) for name in _HUB_VARIABLES):
        return None
    return cache_folder() / "hub"


def expanded(path: str, named_by: str) -> Path:
    """Returns a path with ~ replaced by the home folder; `named_by` is the option or variable that gave it.

    Raises:
        UserError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{named_by} = {path}: the home folder is not known; give a path without ~") from None


@cache
def _temporary() -> Path:
    """Makes and returns the user's cache folder among the temporary files, and reports it.

    Compiled programs are run as they are found there, so it must be nobody else's.
    """
    folder = Path(tempfile.gettempdir()) / f"flowseg-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise UserError(
            f"{folder}: is meant for the cache, because no home folder is known, but others can write there; "
            f"remove it, or name a folder by {VARIABLE}"
        )
    with messages_on_stderr():  # standard output may be data
        warn(f"no home folder is known; the cache is {folder}, and {VARIABLE} names another")
    return folder
