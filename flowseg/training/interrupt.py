"""Ctrl-C and SIGTERM: asked for, then obeyed where the state is whole. The end of a parent process counts as one."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_AT_EOF = "FLOWSEG_STOP_AT_EOF"
"""The environment variable by which a parent process asks for `stop_at_eof`."""


class Interrupted(Exception):
    """The run was asked to stop; `status` is what the process exits with."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


class StopRequest:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def check(self) -> None:
        """Raises Interrupted if a stop was asked for."""
        if self.signum is not None:
            raise Interrupted(self.signum)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block the first SIGINT or SIGTERM only sets the request; the second acts as usual."""
    request = StopRequest()
    previous: dict[int, Any] = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        for s, old in previous.items():
            signal.signal(s, old)

    for signum in (signal.SIGINT, signal.SIGTERM):
        previous[signum] = signal.signal(signum, handle)
    try:
        yield request
    finally:
        for s, old in previous.items():
            signal.signal(s, old)


def stop_at_eof() -> None:
    """Makes the end of the standard input a SIGTERM to this process, if the environment variable STOP_AT_EOF is set.

    A parent that keeps the other end of that pipe thus takes its child with it, however it ends: its kernel closes the
    pipe after a kill -9 too. The child saves its state as after any SIGTERM. Linux also has PR_SET_PDEATHSIG, but it
    is missing elsewhere, has to be set between fork and exec, where a process with threads must not run Python, and
    fires when the thread that forked ends. A pipe that was closed before anyone watched it is noticed as well.
    """
    # Removed, so that processes that this one starts do not take it for theirs.
    if os.environ.pop(STOP_AT_EOF, None) is None:
        return

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
