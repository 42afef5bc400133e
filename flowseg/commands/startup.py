"""Sets up a process before it imports JAX: its streams, caches, garbage collection, huge pages."""

import gc
import io
import os
import sys

from flowseg.commands.accelerator import has_plugin, keep_failures

STANDARD_OUTPUT = "standard output"
"""The file name in an OSError of standard output."""


def set_up_jax() -> None:
    """Makes JAX keep traces and compiled programs in the cache folder, unless environment variables name others."""
    from flowseg.cache import cache_folder, home

    # Tracing the network creates millions of lasting objects; collecting garbage among them takes 10 % of a start.
    gc.set_threshold(100_000, 50, 1000)

    cache = cache_folder()
    os.environ.setdefault("FLOWSEG_TRACES", str(cache / "traces"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "xla"))
    if home() is None:
        os.environ.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))  # else Matplotlib warns at each start
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    if not has_plugin():
        # XLA says several times in blocks of stars that a compilation is slow, which tears the progress display. It
        # calls this an error, and there is no other switch. What really fails on a CPU is an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep_failures()


def open_streams() -> None:
    """Opens the null device in place of each standard stream that was closed when the process started (`2>&-`).

    Otherwise Python has None for it, and the next file that is opened takes its number: what libraries print to
    standard error would be written into a checkpoint.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, hence that of the stream
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, "w" if number else "r", closefd=False))


class _Output(io.TextIOWrapper):
    """Standard output that names itself where it cannot be written: the system's own error names no file."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            error.filename = STANDARD_OUTPUT
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            error.filename = STANDARD_OUTPUT
            raise


def name_output() -> None:
    """Lets errors of standard output name it: what fills a disk by `> FILE` is no file that flowseg knows."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        encoding, errors, lines, through = out.encoding, out.errors, out.line_buffering, out.write_through
        named = _Output(out.detach(), encoding, errors, line_buffering=lines, write_through=through)
        sys.stdout = sys.__stdout__ = named  # type: ignore[misc]


def use_huge_pages() -> None:
    """Restarts this process with huge pages for glibc's memory, unless GLIBC_TUNABLES is set.

    A training step allocates and frees temporaries of many megabytes; clearing them page by page takes up to a quarter
    of its time (docs/performance.md). glibc reads the setting only when a process starts. Only a program may call
    this, and first of all: the process loses its state.
    """
    if sys.platform.startswith("linux") and "GLIBC_TUNABLES" not in os.environ:
        environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
