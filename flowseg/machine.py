"""How much memory this machine and its devices have; what plainly does not fit is refused before it is made."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flowseg.errors import UserError

if TYPE_CHECKING:
    import jax

_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take, in versions 2 and 1 of its control groups."""


def machine_memory() -> int:
    """Returns the bytes of memory of this machine, or of its container if that may take less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or `max`: no limit
            found.append(int(Path(file).read_text()))
    return min(found)


def device_memory(device: "jax.Device") -> int | None:
    """Returns how many bytes JAX may take on a device, or None if it does not say.

    A CPU has the machine's memory. Programs can also be compiled for a device that is not there, which has none.
    """
    from jax.errors import JaxRuntimeError

    try:
        stats = device.memory_stats()
    except JaxRuntimeError:
        return None
    return int(stats["bytes_limit"]) if stats and "bytes_limit" in stats else None


def check_memory(needed: float, what: str, remedy: str, device: "jax.Device | None" = None) -> None:
    """Raises a UserError if `what` needs more bytes than there are, whatever else the machine is doing.

    `device`: whose memory it takes, if that is not the machine's. One that does not say how much it has is trusted.
    """
    has = machine_memory() if device is None else device_memory(device)
    if has is not None and needed > has:
        where = "this machine" if device is None else device.device_kind
        takes = f"takes {needed / 1e9:,.0f} GB of memory or more, and {where} has {has / 1e9:,.0f}"
        raise UserError(f"{what}: {takes}; {remedy}")


def release_freed_memory() -> None:
    """Gives memory that was freed back to the system, as far as the C library can (glibc's `malloc_trim`).

    Compiling a training step frees more than a gigabyte in small pieces, and loading a compiled one a third of that.
    glibc keeps them, but asks the system for what a step then takes.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
