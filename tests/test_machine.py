"""The machine's memory is known, also in a container, and what plainly does not fit is refused in one line."""

import ctypes
import os
import sys
from pathlib import Path

import pytest
from refusals import refusal

from flowseg import machine
from flowseg.machine import check_memory, machine_memory, release_freed_memory


def test_a_container_may_take_less_than_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CONTAINER_LIMITS", (str(limit), str(tmp_path / "none")))
    whole = machine_memory()
    assert whole > 1e8
    for text, expected in (("max\n", whole), (f"{2 * whole}\n", whole), ("1000000\n", 1_000_000)):
        limit.write_text(text)
        assert machine_memory() == expected


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "machine_memory", lambda: 8 * 10**9)
    check_memory(8e9, "a thing", "make it smaller")
    said = "a thing: takes 9 GB of memory or more, and this machine has 8; make it smaller"
    assert refusal(lambda: check_memory(9e9, "a thing", "make it smaller")) == said


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_freed_memory_is_given_back() -> None:
    blocks = [bytearray(5000) for _ in range(20_000)]
    pinned = blocks[::200]  # what is still used lies between
    full = resident()
    del blocks
    kept = resident()
    release_freed_memory()
    assert kept - resident() > 30e6, (full, kept)
    assert len(pinned) == 100
