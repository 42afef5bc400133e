"""Where a run comes from: command, software and machine of each of its starts, in RUN/starts.jsonl.

A run that was interrupted has several starts, perhaps on different machines. The file describes; nothing in the run
depends on it.
"""

import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowseg import __version__
from flowseg.files import parse_json

STARTS_FILE = "starts.jsonl"
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint")


@contextmanager
def recorded(run: Path, devices: str) -> Iterator[None]:
    """Records a start of a run, and at the end of the block how long it took; after a kill, only the start is there.

    Args:
        run: the run's folder.
        devices: what the run computes on, in words.
    """
    began, processor = time.monotonic(), time.process_time()
    _append(run, {"event": "start", "at": _now(), **_about(), "devices": devices})
    try:
        yield
    finally:
        seconds = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - processor}
        # What ended the run is worth more than this line: a full disk, for example.
        with suppress(OSError):
            _append(run, {"event": "end", "at": _now(), **{name: round(value, 1) for name, value in seconds.items()}})


def read_starts(run: Path) -> list[dict[str, Any]]:
    """Returns the starts of a run in their order; those that ended by themselves have `seconds`.

    A damaged line is left out, and a run of an older version has no starts.
    """
    path = run / STARTS_FILE
    starts: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            event = parse_json(line)
            kind = event.pop("event")
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        if kind == "start":
            starts.append(event)
        elif kind == "end" and starts:
            starts[-1] |= {name: event.get(name) for name in ("seconds", "processor_seconds")}
    return starts


def _append(run: Path, event: dict[str, Any]) -> None:
    with (run / STARTS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _about() -> dict[str, str]:
    """The command, the versions, the commit of flowseg's source and the processor; "" for what is not known."""
    program = Path(sys.argv[0])
    name = "flowseg" if program.name in ("flowseg", "__main__.py") else program.name
    return {
        "command": shlex.join([name, *sys.argv[1:]]),
        "flowseg": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        "processor": processor_name(),
        "system": platform.platform(),
    }


def source_commit() -> str:
    """The commit of flowseg's source, with -dirty if files differ from it; "" if it is installed without Git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def processor_name() -> str:
    """The processor's name; on Linux from /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
