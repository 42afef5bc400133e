"""Disks: commands on a disk that is full, or that cannot be written, and again when it can."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.campaign.acts import ACTS, differing
from tests.campaign.case import Case

WAYS = ("full", "full", "read-only", "large files refused")
_ROOM = 300_000  # bytes; what the commands write is smaller


def case(at: Case) -> None:
    """One line says what cannot be written; what was finished stays; with room again the command works."""
    way = at.choose(WAYS)
    name = at.choose(sorted(name for name, act in ACTS.items() if act.changes or act.made))
    act = ACTS[name]
    disk = at.folder / "disk"
    disk.mkdir()
    if way == "large files refused":
        at.bench.lay_out(disk, act.changes)
        limit = int(10 ** at.rng.uniform(1, 5))
        at.tried(f"{name}, with files of at most {limit} bytes")
        _use(at, name, disk, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        return
    with mounted(disk) as remount:
        if remount is None:
            at.result.skipped = "mounting a file system is not allowed here"
            return
        at.bench.lay_out(disk, act.changes)
        room = int(10 ** at.rng.uniform(3.5, 5.5))
        remount("ro" if way == "read-only" else f"size={_used(disk) + room}")
        at.tried(f"{name}, on a {way} disk" + (f" with {room} bytes free" if way == "full" else ""))
        _use(at, name, disk, None, lambda: remount("rw,size=64m"))


def _use(
    at: Case, name: str, disk: Path, before: Callable[[], None] | None, repair: Callable[[], None] = lambda: None
) -> None:
    act, expected = ACTS[name], at.bench.expected(name)
    old = {} if act.made or "train" in act.words else act.product(disk)
    outcome = at.run(act.words, folder=disk, before=before)
    if outcome.status == 0 and (different := differing(act.product(disk), expected)):
        at.find("wrong", different, outcome)
    if outcome.status and old and (gone := differing({**old, **act.product(disk)}, act.product(disk))):
        at.find("lost", f"what was finished: {gone}", outcome)
    repair()
    if outcome.status == 0 and act.words[0] in ("data", "phantoms", "export"):
        return  # it would be refused: its folder exists
    again = at.run(act.words, folder=disk)
    if again.status:
        at.find("lost", "the command does not work when there is room again", again)
    elif different := differing(act.product(disk), expected):
        at.find("wrong", f"when there is room again, {different}", again)


@contextmanager
def mounted(folder: Path) -> Iterator[Callable[[str], None] | None]:
    """Mounts a file system in memory; yields what changes its options, or None where it may not be mounted."""

    def mount(*options: str) -> bool:
        return subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode == 0

    if not mount("-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        yield None
        return
    try:
        yield lambda option: _must(mount("-o", f"remount,{option}"))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def _must(done: bool) -> None:
    if not done:
        raise RuntimeError("a file system cannot be mounted with other options")


def _used(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
