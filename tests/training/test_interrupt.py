"""Signals are answered while Python runs no handler, those of one request once. A second request ends the process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest

from flowseg.commands import experiment
from flowseg.training import interrupt
from flowseg.training.interrupt import _ONE_REQUEST, Interrupted, stop_on_signals

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
# Takes its steps in Python, and nearly a second to save.
_STEPS = """
import time
from flowseg.training.interrupt import Interrupted, answer_signals, stop_on_signals
answer_signals()
with stop_on_signals("after the step") as stop:
    print("ready", flush=True)
    try:
        while True:
            time.sleep(0.01)
            stop.check()
    except Interrupted as stopped:
        time.sleep(0.9)
        print("saved", flush=True)
        raise SystemExit(stopped.status)
"""
# Cleans up for a moment after a Ctrl-C.
_CLEANING = """
import time
from flowseg.training.interrupt import answer_signals
answer_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.9)
    print("saved")
raise SystemExit(130)
"""
# A signal comes while Python calls back from collecting garbage.
_COLLECTING = """
import gc, os, signal, time
from flowseg.training.interrupt import answer_signals
answer_signals()
def interrupt(phase, info):
    gc.callbacks.clear()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
gc.callbacks.append(interrupt)
try:
    print("ready", flush=True)
    gc.collect()
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped")
    raise SystemExit(130)
"""


def started(program: str, *before: str) -> subprocess.Popen[str]:
    """Starts a program in a process group of its own, with other words before it on the command line."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
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
        process.send_signal(signum)  # of the same request
        time.sleep(0.5 * _ONE_REQUEST)
        assert process.poll() is None
        while process.poll() is None:  # on a busy machine the thread may need more than its second
            time.sleep(_ONE_REQUEST)
            process.send_signal(signum)
        name = "Ctrl-C" if signum == signal.SIGINT else "SIGTERM"
        assert process.stderr.read() == f"flowseg: {name} again: stopped at once\n"
    assert process.returncode == 128 + signum


@pytest.mark.parametrize(
    ("program", "signum"), [(_STEPS, signal.SIGTERM), (_STEPS, signal.SIGINT), (_CLEANING, signal.SIGINT)]
)
def test_signals_of_one_request_do_not_disturb_what_is_done_at_the_first(program: str, signum: int) -> None:
    with started(program) as process:
        for _ in range(3):
            os.kill(process.pid, signum)
            time.sleep(0.1)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + signum, "saved\n") and "again" not in err


@pytest.mark.skipif(shutil.which("timeout") is None, reason="needs GNU timeout")
def test_what_timeout_sends_to_a_process_and_its_group_is_one_request() -> None:
    for _ in range(5):  # the two signals sometimes come as one
        with started(_STEPS, "timeout", "60") as process:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
        assert out == "saved\n" and "again" not in err


def test_a_process_whose_child_answers_is_silent_and_stays() -> None:
    with started(_PARENT) as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.poll() is None
        process.kill()
        assert process.stderr is not None and process.stderr.read() == ""


def test_a_signal_within_a_callback_of_the_garbage_collector_is_not_lost() -> None:
    with started(_COLLECTING) as process:
        out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (130, "stopped\n")
    assert err == "flowseg: Ctrl-C: stopping when the present operation ends; once more stops at once\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_that_the_process_ignores_does_not_stop_it(ignored: bool) -> None:
    """A shell ignores SIGINT for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        with stop_on_signals("now") as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum == (None if ignored else signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == (signal.SIG_IGN if ignored else signal.default_int_handler)
    finally:
        signal.signal(signal.SIGINT, before)


class HungUp:
    """A training in whose midst the terminal of its experiment is closed; it ends well."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def wait(self) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    def send_signal(self, signum: int) -> None:
        self.sent.append(signum)


@pytest.mark.parametrize("ignored", [False, True])
def test_an_experiment_under_nohup_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch, ignored: bool) -> None:
    """`nohup` makes a process ignore SIGHUP, which the end of a terminal sends."""
    training = HungUp()
    monkeypatch.setattr(interrupt, "start_child", lambda arguments: training)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda signum, frame: None)
    try:
        with nullcontext() if ignored else pytest.raises(Interrupted):
            experiment._run("train", [])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert training.sent == ([] if ignored else [signal.SIGTERM])
