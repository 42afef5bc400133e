"""What runs on a node of the cluster: a command of flowseg in a process of its own."""

import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowseg import software
from flowseg.cluster.folder import SharedFolder
from flowseg.files import seen_within, take
from flowseg.training.interrupt import start_child

LOCK_SECONDS = 300.0
"""How long a piece waits for an earlier start of it to end: one that was cut off saves first."""
STOP_SECONDS = 120.0
"""How long a command that was asked to stop may take."""
_TURN_SECONDS = 0.2
_FAILED = 75
"""The status of a piece that could not be started (EX_TEMPFAIL)."""


def last_line(text: str) -> str:
    """Returns the last line of a text that is not blank, where the cause of an error stands; "" if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


@dataclass(frozen=True)
class Each:
    """What every piece of work gets."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        cpus = f"{self.cpus} core{'s' if self.cpus > 1 else ''}"
        return f"{self.gpus} GPU{'s' if self.gpus > 1 else ''} and {cpus}" if self.gpus else cpus

    def environment(self) -> dict[str, str]:
        """Returns the variables by which libraries keep to it. Ray itself names the GPUs."""
        if self.gpus:
            return {}
        threads = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # the first is XLA's
        return {**dict.fromkeys(threads, str(self.cpus)), "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """Its exit status; negative after a signal."""
    said: str
    """The last line that it printed as an error."""
    node: str

    @property
    def cut_off(self) -> bool:
        """Whether a signal ended it, as when a node is taken away or runs out of memory."""
        return self.status < 0 or self.status > 128


@dataclass(frozen=True)
class Node:
    """What a node says of itself before it gets work."""

    host: str
    sees_folder: bool
    software: dict[str, str]
    """As `flowseg.software.facts` has it."""


def look_around(path: str, token: str, seconds: float) -> Node:
    """Returns what this node is, and whether it sees the folder of the work within some seconds."""
    return Node(socket.gethostname(), seen_within(Path(path) / token, seconds), software.facts())


def run_command(name: str, arguments: list[str], folder: str, path: str, token: str, each: Each) -> Ended:
    """Runs a command and returns how it ended.

    The command keeps the lock of its piece for as long as it lives. So a second start, after this process was killed,
    waits until the first command has saved its state and ended, on whatever node it is.

    Args:
        name: the piece's.
        arguments: the command and its options.
        folder: the working folder.
        path, token: of the `SharedFolder`.
        each: what the command may use.
    """
    shared, node = SharedFolder(Path(path)), socket.gethostname()
    if not (shared.path / token).exists() or not Path(folder).is_dir():
        return Ended(_FAILED, f"{node} does not see {path} or {folder}; give folders that all nodes share", node)
    with shared.lock(name).open("a+") as lock:
        if not _locked(lock.fileno()):
            said = f"an earlier start of it still runs after {LOCK_SECONDS:.0f} s; end it, and give the command again"
            return Ended(_FAILED, said, node)
        lock.write(f"{node}\n")
        lock.flush()
        with shared.out(name).open("wb") as out, shared.err(name).open("wb") as err:
            child = start_child(
                arguments, each.environment(), folder, out.fileno(), err.fileno(), keep_open=(lock.fileno(),)
            )
            assert child.stdin is not None
            try:
                # Ray cancels by a KeyboardInterrupt that is no signal: it does not end a system call.
                while (status := child.poll()) is None:
                    time.sleep(_TURN_SECONDS)
            finally:
                child.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(STOP_SECONDS)
    said = last_line(shared.err(name).read_text(errors="replace")) or f"it ended with status {status}"
    return Ended(status, said.removeprefix("flowseg: "), node)


def _locked(lock: int) -> bool:
    """Locks a file, waiting for another process that has it; returns whether that has succeeded."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            take(lock)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        except OSError:  # a file system without locks, which a training refuses; other commands need none
            return True
