"""`flowseg embed` in a process of its own, sent a signal while it embeds."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRAM = """
import sys
from pkgutil import resolve_name
from flowseg import cli
Encoder = resolve_name({encoder!r})
encode, calls = Encoder.encode, []
def slow(self, images):
    calls.append(images)
    if len(calls) == 3:
        print("third", flush=True)
        sys.stdin.readline()
    return encode(self, images)
Encoder.encode = slow
if {batch}:
    Encoder.batch = {batch}
cli.main()
"""
"""The command; at the third batch it says so, and waits until its standard input ends."""


def program(encoder: str, arguments: Sequence[object], batch: int | None = None) -> list[str]:
    """Returns a command that embeds, and waits at the third batch; `encoder` is its class, as module:name."""
    return [sys.executable, "-c", _PROGRAM.format(encoder=encoder, batch=batch), *map(str, arguments)]


def stopped(
    command: Sequence[str], signum: signal.Signals, folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Sends a `program` a signal at its third batch, and returns its exit status and what it printed from then on."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        while (line := process.stdout.readline()) and "third" not in line:
            pass
        process.send_signal(signum)
        process.stdin.close()
        rest = process.stdout.read()
    return process.returncode, rest
