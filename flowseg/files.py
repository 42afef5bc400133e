"""Writing files and folders that appear whole or not at all.

What is not finished lies in a folder `.part-...` beside its place, which its writer keeps locked. If the writer is
killed, the lock goes with it, and the next process that writes there removes the folder.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from flowseg.errors import UserError

try:
    import fcntl
except ModuleNotFoundError:
    raise UserError(
        "Windows lacks the file locks that flowseg needs (fcntl); use it in the Windows Subsystem for Linux"
    ) from None

SEEN_SECONDS = 30.0
"""Within this time another machine must see a new file."""
_UNFINISHED = ".part-"
_OLD = ".old"
"""Within an unfinished folder: what is about to be replaced."""


def parse_json(text: str | bytes) -> Any:
    """Returns what a JSON text holds.

    Raises:
        ValueError: any other text, also one that is nested too deeply, or that escapes half a character (\\ud800),
            which cannot be written again.
    """
    try:
        found = json.loads(text)
        if re.search(r"\\u[dD]", text if isinstance(text, str) else text.decode(errors="replace")):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found


def take(file: int | IO[str]) -> None:
    """Locks an open file until it is closed; raises an OSError if another process has it."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def seen_within(file: Path, seconds: float) -> bool:
    """Returns whether a file of another machine is seen within some seconds.

    Network file systems keep old listings for a while.
    """
    deadline = time.monotonic() + seconds
    while not (seen := file.exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
        with suppress(OSError):
            next(file.parent.iterdir(), None)  # makes a network file system look again
    return seen


def is_text(name: str) -> bool:
    """Returns whether a name is UTF-8, as files for people must be; Linux allows any bytes in names."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets an OSError in the block name `path` if it names no file, as when a disk is full, or an unfinished one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and _UNFINISHED in str(error.filename or _UNFINISHED):
            error.filename = str(path)
        raise


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yields a new file to write, which replaces `path` at the end; after an error `path` is as it was.

    Raises:
        OSError: the file cannot be written; the error names `path`.
    """
    with _unfinished(path) as part:
        new = part / path.name
        yield new
        new.replace(path)


def as_utf8(text: str) -> bytes:
    """Returns a text for a file. What is no UTF-8 in it, as names of files and texts in JSON may have, is written as
    \\udcff and the like, as the terminal shows it."""
    return text.encode(errors="backslashreplace")


def write_text(path: Path, text: str) -> None:
    """Writes a text file (`as_utf8`), replacing `path` only once all of it is written."""
    with replaced_file(path) as part:
        part.write_bytes(as_utf8(text))


@contextmanager
def replaced_folder(path: Path, *, keep: bool = False) -> Iterator[Path]:
    """Yields a new folder to write into, which replaces `path` at the end; after an error `path` is as it was.

    With `keep`, a folder that another process has written to `path` in the meantime stays, and the new one is deleted.

    Raises:
        OSError: the folder cannot be written; the error names `path`.
    """
    with _unfinished(path) as part:
        new, old = part / path.name, part / _OLD / path.name
        new.mkdir()
        yield new
        if path.exists() and not keep:
            old.parent.mkdir()
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            if not (keep and path.is_dir()):
                raise


def sweep(folder: Path) -> None:
    """Removes what killed processes have left unfinished in a folder."""
    for part in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):  # of another user, or in use
            lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
            try:
                take(lock)
                for old in (part / _OLD).glob("*"):
                    if not (folder / old.name).exists():  # killed just before the new one took its place
                        old.rename(folder / old.name)
                shutil.rmtree(part)
            finally:
                os.close(lock)


_sweep_once = cache(sweep)
"""Once per process and folder: a folder may be large, and written into a thousand times."""


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Yields a new locked folder beside `path`, which is removed at the end with all that is still in it."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        part, lock = _make_locked(path.parent)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
            os.close(lock)


def _make_locked(folder: Path) -> tuple[Path, int]:
    """Makes an unfinished folder; returns it, and the open file that keeps it locked."""
    while True:
        part = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        try:
            lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # swept before it was locked
        with suppress(OSError):  # a file system without locks, where nothing is swept either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if part.exists():
            return part, lock
        os.close(lock)
