"""Ctrl-C and SIGTERM: asked for, then obeyed where the state is whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
