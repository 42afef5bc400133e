"""Writing files and folders that appear whole or not at all, and flowseg's cache folder."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_folder() -> Path:
    """Returns flowseg's cache folder: $FLOWSEG_CACHE, or ~/.cache/flowseg."""
    cache = os.environ.get("FLOWSEG_CACHE")
    return Path(cache).expanduser() if cache else Path.home() / ".cache" / "flowseg"


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yields a new file to write, which replaces `path` at the end; after an error `path` is as it was."""
    # The process number keeps two processes that write the same file from sharing the unfinished one.
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file, replacing `path` only once all of it is written."""
    with replaced_file(path) as part:
        part.write_text(text)


@contextmanager
def replaced_folder(path: Path, *, keep: bool = False) -> Iterator[Path]:
    """Yields a new folder to write into, which replaces `path` at the end; after an error `path` is as it was.

    With `keep`, a folder that another process has written to `path` in the meantime stays, and the new one is deleted.
    """
    part, old = (path.with_name(f"{path.name}.{kind}-{os.getpid()}") for kind in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)  # left by a killed process that had the same number
    try:
        part.mkdir(parents=True)
        yield part
        if path.exists() and not keep:
            path.rename(old)
        try:
            part.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            if not (keep and path.is_dir()):
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
