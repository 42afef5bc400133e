"""How much memory this machine has; what plainly does not fit it is refused before anything is made."""

import os
from contextlib import suppress
from pathlib import Path

from flowseg.errors import UserError

_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take, in versions 2 and 1 of its control groups."""


def machine_memory() -> int:
    """Returns the bytes of memory of this machine, or of its container if that may take less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or `max`: no limit
            found.append(int(Path(file).read_text()))
    return min(found)


def check_memory(needed: float, what: str, remedy: str) -> None:
    """Raises a UserError if `what` needs more bytes than there are, whatever else the machine is doing."""
    has = machine_memory()
    if needed > has:
        takes = f"takes {needed / 1e9:,.0f} GB of memory or more, and this machine has {has / 1e9:,.0f}"
        raise UserError(f"{what}: {takes}; {remedy}")
