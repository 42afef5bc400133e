"""A training as one of several processes, on several hosts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from flowseg import hosts
from flowseg.bounds import Count, Natural, at_most, check_options
from flowseg.commands.parsing import default_is, parse_known
from flowseg.hosts.place import find_place
from flowseg.progress import console
from flowseg.training.interrupt import Interrupted

Processes = Annotated[Count, at_most(10_000, "process 0 keeps a connection to each")]
Process = Annotated[Natural, at_most(9_999, "they are counted from 0")]
Seconds = Annotated[Count, at_most(7 * 24 * 3600, "a week")]


@dataclass(frozen=True)
class Together:
    """Options of a command that several processes run together."""

    coordinator: Annotated[str | None, default_is("what Slurm says, else one process alone")] = None
    """HOST:PORT for a training on several hosts: the host that process 0 runs on, and a free port of it. Start the
    same command on every host (docs/cluster.md)."""
    processes: Annotated[Processes | None, default_is("what Slurm or Open MPI says")] = None
    """Number of processes of that training, usually one per host. 1: this process trains alone, whatever Slurm or Open
    MPI says."""
    process_id: Annotated[Process | None, default_is("what Slurm, Open MPI or Kubernetes says")] = None
    """Index of this process, counted from 0."""
    peer_timeout: Seconds = 300
    """Seconds that a process waits for the others at the start."""


def compile_alike() -> None:
    """Makes every process compile on GPUs, where they divide the autotuning of kernels among themselves.

    One that found a program in its cache would not take part, and the others would wait for it.
    """
    import jax

    if jax.default_backend() == "gpu":
        jax.config.update("jax_enable_compilation_cache", False)


@contextmanager
def joined(args: list[str]) -> Iterator[None]:
    """Runs the block together with the other processes that the options, or a launcher, speak of; else alone.

    Only process 0 shows its progress. When one ends with an error, the others end with a line about it.

    Args:
        args: the command line; options other than those of `Together` are not looked at.
    """
    asked = Together() if {"-h", "--help"} & set(args) else parse_known(Together, args, "train")[0]
    check_options(asked)
    place = find_place(asked.coordinator, asked.processes, asked.process_id, os.environ)
    if place is None:
        yield
        return
    hosts.start(place, asked.peer_timeout)
    console.quiet = not hosts.is_first()
    try:
        compile_alike()
        yield
    except Interrupted:  # all of them, at the same call
        hosts.stop()
        raise
    except BaseException as error:
        hosts.fail(error)
        raise
    hosts.stop()
