"""Writes files and folders whole or not at all: under another name beside the target, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yields a new path to write, which replaces `path` at the end; if the block fails, `path` is unchanged."""
    # The process id keeps two processes that write the same file from sharing an unfinished one.
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
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder to fill, which replaces `path` at the end; if the block fails, `path` is unchanged."""
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
