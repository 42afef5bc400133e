"""How a process is set up before it imports JAX: caches, garbage collection, huge pages."""

import gc
import os
import sys


def set_up_jax() -> None:
    """Traces and compiled programs are kept between starts, under the cache folder unless their variables name one."""
    from flowseg.files import cache_folder

    # Tracing the network makes millions of objects that stay: searching them for garbage takes a tenth of a start.
    gc.set_threshold(100_000, 50, 1000)

    cache = cache_folder()
    os.environ.setdefault("FLOWSEG_TRACES", str(cache / "traces"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


def use_huge_pages() -> None:
    """Starts this process again with huge pages for glibc's memory, unless GLIBC_TUNABLES says otherwise.

    A step takes and frees temporaries of many megabytes; clearing them page by page takes up to a quarter of its time
    (docs/performance.md). glibc reads the setting only when a process starts. For programs of their own: whatever else
    lives in the process is lost.
    """
    if sys.platform.startswith("linux") and "GLIBC_TUNABLES" not in os.environ:
        environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
