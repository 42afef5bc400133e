"""Ctrl-C and SIGTERM: answered at once, obeyed where the state is whole.

Python calls its handlers between two of its own instructions, and the compilation of a program is one call of minutes.
So a thread listens too (`answer_signals`): it answers the first request to stop, and ends the process at the second.
Signals within a second are one request: GNU `timeout` sends its signal to the process and once more to its group, and
a program between the terminal and this process passes a Ctrl-C on that both have got.
The end of a parent process counts as a signal (`stop_at_eof`).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Thread, Timer
from types import FrameType

from flowseg import hosts

STOP_AT_EOF = "FLOWSEG_STOP_AT_EOF"
"""The environment variable by which a parent process asks for `stop_at_eof`."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_REQUEST = 1.0
"""Seconds after the answer to a signal in which others belong to the same request."""
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it
_CLEAR_LINE = "\r\x1b[2K"

_answer: str | None = "when the present operation ends"
"""When the process stops, in words; None: another process answers."""
_raised = False
"""Whether a KeyboardInterrupt has been raised."""


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

    def check_together(self) -> None:
        """Raises Interrupted if a stop was asked for. Several processes must call this equally often."""
        self.check()


class JointStop(StopRequest):
    """Whether one of several processes was asked to stop: all stop at the same call of `check_together`."""

    def check(self) -> None:
        """Does nothing: the other processes may already be elsewhere."""

    def check_together(self) -> None:
        if hosts.stop_reached():
            raise Interrupted(self.signum or signal.SIGTERM)


@contextmanager
def handled_by(handle: Callable[[int, FrameType | None], None], signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Calls `handle` for some signals within the block.

    A signal that this process ignores stays ignored: `nohup` asks for that with SIGHUP, and a shell that starts a
    program in the background with SIGINT.
    """
    taken = [signum for signum in signals if signal.getsignal(signum) is not signal.SIG_IGN]
    previous = {signum: signal.signal(signum, handle) for signum in taken}
    try:
        yield
    finally:
        for signum, before in previous.items():
            signal.signal(signum, before)


@contextmanager
def stop_on_signals(when: str) -> Iterator[StopRequest]:
    """Within the block SIGINT and SIGTERM only set the request. A second request is left to the thread that listens.

    `when` is the answer to the first: when the work stops, and what becomes of it.

    With several processes, one that is sent either makes all stop. JAX's runtime takes the SIGTERM (the block leaves
    its handler in place) and agrees with the others on the call of `check_together` at which all stop; a SIGINT is
    handed on as one.
    """
    together = hosts.count() > 1
    request = JointStop() if together else StopRequest()

    def handle(signum: int, frame: FrameType | None) -> None:
        if request.signum is not None:
            return
        request.signum = signum
        if together:
            os.kill(os.getpid(), signal.SIGTERM)

    with answering(when), handled_by(handle, (signal.SIGINT,) if together else _SIGNALS):
        yield request


def end_joint_stops() -> None:
    """Lets SIGTERM end this process again, if it is one of several: JAX's runtime has kept it for the training."""
    if hosts.count() > 1:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def answering(when: str | None) -> Iterator[None]:
    """Changes the answer to a first signal within the block; None: there is none, and the second does nothing more."""
    global _answer
    before, _answer = _answer, when
    try:
        yield
    finally:
        _answer = before


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

    Thread(target=watch, daemon=True).start()


def start_child(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts a command of flowseg as a process that ends when this one does (`stop_at_eof`), or closes its `stdin`.

    It has a session of its own: a Ctrl-C reaches it only if this process passes it on. A second one would stop it
    before it has saved.

    Args:
        arguments: the command and its options.
        environment: variables that differ from this process's.
        folder: its working folder; None: this process's.
        stdout, stderr: open files for what it prints; None: this process's.
        keep_open: further open files that it inherits.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "flowseg", *arguments],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        pass_fds=keep_open,
        env={**os.environ, **(environment or {}), STOP_AT_EOF: "1"},
    )


def answer_signals() -> None:
    """Lets a thread answer signals from now on; for a program, which calls it once, before it imports much."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # else the parent wants it to be ignored
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _raise_again
    heard, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    Thread(target=_listen, args=(heard,), daemon=True).start()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Raises a KeyboardInterrupt, once; within an import, where that may become any error or none, ends the process.

    A further one would fall into the handling of the first.
    """
    global _raised
    if _raised:
        return
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _say("stopped")
            os._exit(128 + signum)
        frame = frame.f_back
    _raised = True
    raise KeyboardInterrupt


def ctrl_c_raised() -> bool:
    """Returns whether a Ctrl-C has been raised as a KeyboardInterrupt. JAX and NumPy may make other errors of it."""
    return _raised


def _raise_again(lost: "sys.UnraisableHookArgs") -> None:
    """Sends a Ctrl-C once more whose KeyboardInterrupt fell into a finaliser or a callback of the garbage collector.

    Python drops exceptions there. Anything else that it drops is shown as always.
    """
    global _raised
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    _raised = False
    again = Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))  # by then the callback is over
    again.daemon = True
    again.start()


def _listen(heard: int) -> None:
    asked = False
    while True:
        (signum,) = os.read(heard, 1)
        if signum not in _SIGNALS or _answer is None:
            continue
        name = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        if asked:
            _say(f"{name} again: stopped at once")
            os._exit(128 + signum)
        asked = True
        _say(f"{name}: stopping {_answer}; once more stops at once")
        time.sleep(_ONE_REQUEST)
        while select.select([heard], [], [], 0)[0]:
            os.read(heard, 1024)


def _say(text: str) -> None:
    """Writes a line to standard error, past everything that the main thread may hold."""
    terminal = (_CLEAR_LINE, _SHOW_CURSOR) if os.isatty(2) else ("", "")
    with suppress(OSError):  # closed
        os.write(2, f"{terminal[0]}flowseg: {text}\n{terminal[1]}".encode())
