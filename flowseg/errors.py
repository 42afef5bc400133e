"""The error meant for users, and the line that tells them of it."""

import os
import sys
from collections.abc import Sequence


class UserError(Exception):
    """A problem that the user can solve.

    The message is one line: what is wrong, where (file, field, value) and what to do. The command line prints it
    without a traceback and exits with status 1. Characters that are not printable, as names and what is in files may
    have, are escaped: a terminal could obey them.
    """

    def __init__(self, message: str):
        line = " ".join(message.splitlines())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


def tell(message: str) -> None:
    """Writes a message to standard error as one line. If it cannot be written, the exit status has to say it alone."""
    try:
        sys.stderr.write(f"flowseg: {' '.join(message.splitlines())}\n")  # one write, so that it stays in one piece
        sys.stderr.flush()
    except OSError:  # a full disk, or the reader has gone; Python would fail again when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def pip_install(*packages: str) -> str:
    """Returns the command that installs packages beside flowseg: the `pip` of a shell may belong to another Python."""
    import shlex  # only now: until this file is imported, a Ctrl-C gets a traceback

    return shlex.join([sys.executable, "-m", "pip", "install", *packages])


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun: 1 image, 2 images."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def first_of(names: Sequence[str]) -> str:
    """Returns the first three names for a message, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
