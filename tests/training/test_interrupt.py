"""Signals are answered while Python runs no handler, and a second one ends the process."""

import signal
import subprocess
import sys
import time

import pytest

# One call of C that takes minutes and lets other threads run, as the compilation of a program is. It has begun when
# the other thread says so.
_BUSY = "Timer(0.5, print, ['ready'], {'flush': True}).start(); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
_TRAINING = f"""
import hashlib
from threading import Timer
from flowseg.training.interrupt import answer_signals, stop_on_signals
answer_signals()
with stop_on_signals("after the step"):
    {_BUSY}
"""
_OTHER = f"""
import hashlib
from threading import Timer
from flowseg.training.interrupt import answer_signals
answer_signals()
{_BUSY}
"""
_PARENT = f"""
import hashlib
from threading import Timer
from flowseg.training.interrupt import answer_signals, answering
answer_signals()
with answering(None):
    {_BUSY}
"""


def started(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("program", "signum", "answer"),
    [
        (_TRAINING, signal.SIGTERM, "flowseg: SIGTERM: stopping after the step; once more stops at once\n"),
        (_OTHER, signal.SIGINT, "flowseg: Ctrl-C: stopping when the present operation ends; "),
    ],
)
def test_the_first_signal_is_answered_and_the_second_obeyed_at_once(
    program: str, signum: signal.Signals, answer: str
) -> None:
    with started(program) as process:
        assert process.stderr is not None
        process.send_signal(signum)
        assert process.stderr.readline().startswith(answer)
        assert process.poll() is None
        process.send_signal(signum)
        name = "Ctrl-C" if signum == signal.SIGINT else "SIGTERM"
        assert process.stderr.read() == f"flowseg: {name} again: stopped at once\n"
    assert process.returncode == 128 + signum


def test_a_process_whose_child_answers_is_silent_and_stays() -> None:
    with started(_PARENT) as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.poll() is None
        process.kill()
        assert process.stderr is not None and process.stderr.read() == ""
