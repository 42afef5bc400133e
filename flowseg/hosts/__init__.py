"""The processes of one training that runs on several hosts.

Without `start` a process is alone: nothing is started, and every function here answers at once.
"""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from flowseg.errors import UserError
from flowseg.files import SEEN_SECONDS, seen_within
from flowseg.hosts.meeting import Disagreement, Meeting, end_process, family
from flowseg.hosts.place import Place

_LEAVE = 60
"""Seconds that JAX's runtime waits at its end for the other processes, which are then at their end, too."""

_place: Place | None = None
_meeting: Meeting | None = None
_asked = 0
"""How often `stop_reached` has been called."""


def start(place: Place, seconds: float) -> None:
    """Meets the other processes of a training and starts JAX's distributed runtime, before any computation.

    Args:
        place: this process's.
        seconds: how long to wait for the others.

    Raises:
        UserError: they do not come in time, or contradict each other.
    """
    global _place, _meeting, _asked
    import jax

    meeting = Meeting(place, seconds)
    host = place.address[0]
    port = meeting.gather(_free_port(host) if place.process == 0 else None)[0]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    jax.distributed.initialize(
        address,
        place.processes,
        place.process,
        cluster_detection_method="deactivate",
        coordinator_bind_address=address,
        shutdown_timeout_seconds=_LEAVE,
    )
    _place, _meeting, _asked = place, meeting, 0


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=family(host, 0)) as server:
        return int(server.getsockname()[1])


def stop() -> None:
    """Ends JAX's distributed runtime, once every process has come here."""
    global _place, _meeting
    if _meeting is None:
        return
    import jax

    _meeting.gather(None)
    jax.distributed.shutdown()
    _meeting.leave()
    _place = _meeting = None


def fail(error: BaseException) -> None:
    """Tells the other processes that this one ends because of an error. They end, too, unless all have raised it."""
    if _meeting is None:
        return
    if isinstance(error, Disagreement):
        _meeting.leave()
        return
    time.sleep(1.0)  # if the error is a consequence of another process's end, this one ends here with that message
    _meeting.fail(" ".join(f"{error}".split()) or type(error).__name__)


def end_all(error: UserError) -> NoReturn:
    """Prints an error, and ends this process and all others; can be called from any thread."""
    fail(error)
    end_process(f"{error}")


def count() -> int:
    """Returns the number of processes; 1 for a process that is alone."""
    return _place.processes if _place else 1


def index() -> int:
    """Returns which of them this one is, from 0."""
    return _place.process if _place else 0


def is_first() -> bool:
    """Returns whether this process writes what is written once: logs, reports, pictures."""
    return index() == 0


def own_part(length: int) -> range:
    """Returns this process's part of `length` things, for example images.

    The parts are contiguous, and differ by at most one in size. The first processes have the larger ones, so
    process 0 has something unless there is nothing.
    """
    size, larger = divmod(length, count())
    start = index() * size + min(index(), larger)
    return range(start, start + size + (index() < larger))


def gather(value: Any) -> list[Any]:
    """Returns what each process gave, in their order; every process must call this. Values pass through JSON."""
    return [value] if _meeting is None else _meeting.gather(value)


def from_first(value: Any) -> Any:
    """Returns what process 0 gave; every process must call this. The value passes through JSON."""
    return value if _meeting is None else gather(value if is_first() else None)[0]


def agree(what: str, facts: dict[str, Any], remedy: str) -> None:
    """Raises a UserError on every process if a fact differs between two of them.

    Args:
        what: the kind of facts, in words.
        facts: values by name, which pass through JSON.
        remedy: what the user can do.
    """
    (_, expected), *others = gather([socket.gethostname(), facts])
    for process, (host, found) in enumerate(others, 1):
        for name in sorted(expected.keys() | found.keys()):
            one, other = expected.get(name), found.get(name)
            if one != other:
                raise Disagreement(
                    f"{what}: {name} is {one!r} on process 0, and {other!r} on process {process} ({host}); {remedy}"
                )


def check_shared(folder: Path, seconds: float = SEEN_SECONDS) -> None:
    """Raises a UserError on every process if one of them does not see a file that process 0 writes into a folder."""
    if _meeting is None:
        return
    probe = folder / f".probe-{from_first(os.urandom(8).hex())}"
    if is_first():
        probe.touch()
    gather(None)
    answers = gather([socket.gethostname(), seen_within(probe, seconds)])
    if is_first():
        probe.unlink()
    for process, (host, found) in enumerate(answers):
        if not found:
            raise Disagreement(
                f"{folder}: is not the same folder on process 0 and process {process} ({host}); give a folder that "
                "all hosts share, with --out"
            )


def shared_out(devices: Sequence[Any], wanted: int) -> list[Any]:
    """Returns `wanted` JAX devices, as many of each process, ordered by process."""
    if _place is None:
        return list(devices[:wanted])
    each = wanted // count()
    return [d for i in range(count()) for d in [d for d in devices if d.process_index == i][:each]]


def own_devices(devices: Sequence[Any]) -> list[Any]:
    """Returns those of some JAX devices that are this process's."""
    return list(devices) if _place is None else [device for device in devices if device.process_index == index()]


def stop_reached() -> bool:
    """Returns whether all processes stop now, because one of them was sent SIGTERM.

    Every process must call this the same number of times. JAX begins with 0 and chooses one more than the highest
    number that a process has passed. So the calls are numbered here: with step numbers, a training that continues at
    step 100 would never meet the 1 that was chosen for an earlier signal.
    """
    global _asked
    from jax.experimental import multihost_utils

    _asked += 1
    return bool(multihost_utils.reached_preemption_sync_point(_asked))
