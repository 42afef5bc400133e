"""Files and folders that appear whole or not at all: written beside, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A new file to write, which takes the place of `path` at the end: whole, or what was there stays."""
    # The process number keeps two that write the same file from sharing the unfinished one.
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with replaced_file(path) as part:
        part.write_text(text)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `path` at the end: whole, or what was there stays."""
    part, old = (path.with_name(f"{path.name}.{kind}-{os.getpid()}") for kind in ("part", "old"))
    try:
        part.mkdir(parents=True)
        yield part
        if path.exists():
            path.rename(old)
        try:
            part.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
