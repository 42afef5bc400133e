"""Commands as processes: how one ended, and what of that is a finding whatever the command was.

A command is run in a copy of this process (`os.fork`), in which everything is imported already: that saves three
quarters of its time. A share of them runs as users run them, `python -m flowseg`.
"""

import atexit
import fcntl
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HANG = float(os.environ.get("CAMPAIGN_HANG", "60"))
"""Seconds after which a command that has not ended hangs; undisturbed, those of the campaign take up to ten."""
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""The exit status after each signal."""
_PIPE = 2**20  # bytes: no command of the campaign prints as much
_LONGEST = 1500  # characters of an output that a finding shows


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    words: tuple[str, ...]
    status: int
    """The exit status, or minus the number of the signal that ended the process."""
    out: str
    err: str
    hung: bool = False

    @property
    def warned(self) -> bool:
        """Whether the command has said that something is not as it was."""
        return "WARNING" in self.out

    @property
    def shown(self) -> str:
        """The command and the end of what it printed."""
        said = "\n".join(text.strip()[-_LONGEST:] for text in (self.out, self.err) if text.strip())
        return f"$ flowseg {' '.join(self.words)}   (status {self.status})\n{said}"

    def fault(self, statuses: Collection[int] = (0, 1)) -> tuple[str, str] | None:
        """Returns the category and the reason if this is no end that a command may have.

        `statuses`: the allowed ones. Those other than 0 and 1 (those of signals) need no line on standard error.
        """
        if self.hung:
            return "hang", f"did not end within {HANG:.0f} s"
        if "Traceback (most recent call last)" in self.out + self.err:
            return "crash", "a traceback"
        if self.status not in statuses:
            return "crash", f"exit status {self.status}"
        lines = self.err.splitlines()
        if self.status == 1 and not (len(lines) == 1 and lines[0].startswith("flowseg: ")):
            return "crash", f"refused with {len(lines)} lines on standard error instead of one"
        return None


class Command:
    """A running `flowseg` command, in a session of its own, with its output in pipes that hold all of it.

    Args:
        words: its arguments.
        folder: where it works.
        real: whether it is started as users do, and not as a copy of this process.
        before: what the new process does first, for example limit itself (copies only).
        environment: variables to set in it.
    """

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        real: bool = False,
        before: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ):
        self.words = tuple(map(str, words))
        self._pipes = [os.pipe(), os.pipe()]
        for _, write in self._pipes:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(self.words, folder, [write for _, write in self._pipes], real, before, environment or {})
        for read, write in self._pipes:
            os.close(write)
            os.set_blocking(read, False)
        self._status: int | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is None

    def send(self, signum: int) -> None:
        """Sends a signal, if it is still running."""
        if self.running:
            os.kill(self.pid, signum)

    def wait(self, seconds: float) -> bool:
        """Waits until it has ended, or some seconds are over; returns whether it has ended."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            time.sleep(0.005)
        return not self.running

    def finish(self, seconds: float = HANG) -> Outcome:
        """Waits until it has ended, and kills it if that takes too long."""
        hung = not self.wait(seconds)
        if hung:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait(HANG)
        assert self._status is not None
        out, err = (_drained(read) for read, _ in self._pipes)
        return Outcome(self.words, self._status, out, err, hung)


def _drained(read: int) -> str:
    """Returns what is in a pipe, and closes it; processes that the command has left behind may still hold it open."""
    parts = []
    try:
        while part := os.read(read, _PIPE):
            parts.append(part)
    except BlockingIOError:
        pass
    os.close(read)
    return b"".join(parts).decode(errors="replace")


def _become(
    words: tuple[str, ...],
    folder: Path,
    outputs: Sequence[int],
    real: bool,
    before: Callable[[], None] | None,
    environment: Mapping[str, str],
) -> NoReturn:
    """Turns this copy of the process into the command; never returns."""
    status = 1
    try:
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        for target, file in enumerate((os.open(os.devnull, os.O_RDONLY), *outputs)):
            os.dup2(file, target)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        os.chdir(folder)
        os.environ.update(environment)
        if before is not None:
            before()
        if real:
            os.execv(sys.executable, [sys.executable, "-m", "flowseg", *words])
        from flowseg.__main__ import run

        sys.argv = ["flowseg", *words]
        # As Python sets it for a program; `run` lets a signal through once it can answer.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        # What the interpreter does at its end; it would also end what this copy took over from its parent.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 1
        os._exit(status)


def apart(function: Callable[[], str], seconds: float = HANG) -> str:
    """Returns what a function returns in a copy of this process, which keeps JAX's threads out of this one.

    Raises:
        RuntimeError: the copy has died, or took too long.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                pipe.write(function())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    end, parts = time.monotonic() + seconds, []
    while select.select([read], [], [], max(end - time.monotonic(), 0))[0]:
        parts.append(os.read(read, 2**16))
        if not parts[-1]:
            break
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"a copy of this process ended with {os.waitstatus_to_exitcode(status)}")
    return b"".join(parts).decode()
