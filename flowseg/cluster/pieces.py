"""Runs pieces of work on a cluster, and starts those again that are lost with their worker or node."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowseg.cluster.connection import Cluster
from flowseg.cluster.display import Display, Row
from flowseg.cluster.folder import Seen, SharedFolder
from flowseg.cluster.worker import STOP_SECONDS, Each, Ended, last_line, run_command
from flowseg.errors import UserError, first_of
from flowseg.files import SEEN_SECONDS, seen_within
from flowseg.progress import console, duration, warn
from flowseg.training.interrupt import stop_on_signals

PAUSES = (0.0, 10.0, 30.0, 60.0, 120.0)
"""A piece whose worker or node was lost is started again as often as this, each time after these seconds: a node that
is going loses whatever it gets until the cluster has noticed."""
_TURN_SECONDS = 1.0
_ROOM_SECONDS = 30.0
"""How often it is checked whether some node still has room for a piece."""


@dataclass(frozen=True)
class Piece:
    """A command of flowseg that one worker runs. It must go on where an earlier start of it was cut off."""

    name: str
    """What it is called on the terminal and in the names of its files; unique."""
    arguments: list[str]
    """The command and its options."""
    look: Callable[[], Seen | None] | None = None
    """Returns how far it is, or None before that is known; without it, its output says so."""
    result: Path | None = None
    """A file that is there once it has ended well. Another node's is seen here only after a while."""


@dataclass
class _Work:
    """A piece and what has become of it."""

    piece: Piece
    lost: int = 0
    again: float = 0.0
    """When it may start again."""
    starts: int = 0
    """Starts that are over."""
    state: str = "waiting"
    node: str = ""
    seen: Seen | None = None
    before: tuple[float, float] | None = None
    """Time and progress at the first look at the present start."""
    begun: float = field(default_factory=time.monotonic)

    def row(self) -> Row:
        left = None
        if self.state == "running" and self.seen is not None and self.before is not None:
            moment, done = self.before
            gained = self.seen.done - done
            left = (time.monotonic() - moment) / gained * (self.seen.total - self.seen.done) if gained > 0 else None
        return Row(self.piece.name, self.state, self.node, self.seen, left)

    def look(self, shared: SharedFolder) -> None:
        """Finds out whether the piece has started on a node, and how far it is."""
        starts = shared.starts(self.piece.name)
        if self.state == "waiting" and len(starts) > self.starts:
            self.state, self.node, self.before, self.begun = "running", starts[-1], None, time.monotonic()
        if self.state != "running":
            return
        self.seen = self.piece.look() if self.piece.look is not None else shared.printed(self.piece.name)
        if self.seen is not None and (self.before is None or self.seen.done < self.before[1]):
            self.before = time.monotonic(), self.seen.done


def run_pieces(cluster: Cluster, shared: SharedFolder, pieces: Sequence[Piece], each: Each, what: str) -> None:
    """Runs all pieces, as many at a time as the cluster has room for, and shows how far they are.

    Args:
        cluster, shared: where they run, and the folder that they share.
        each: what every piece gets.
        what: the pieces in words, for example `trainings`.

    Raises:
        Interrupted: this process was asked to stop; all pieces have saved what they have, and ended.
        UserError: some pieces have failed, and the others are finished; or the result of one is not seen here.
    """
    if not pieces:
        return
    works = [_Work(piece) for piece in pieces]
    task = cluster.ray.remote(run_command).options(num_cpus=each.cpus, num_gpus=each.gpus, max_retries=0)
    running: dict[Any, _Work] = {}
    paused: list[_Work] = []

    def start(work: _Work) -> None:
        piece, folder = work.piece, str(Path.cwd())
        reference = task.remote(piece.name, piece.arguments, folder, str(shared.path.absolute()), shared.token, each)
        running[reference] = work

    with (
        stop_on_signals(f"when all {what} have saved what they have") as request,
        Display(what) as display,
    ):
        try:
            for work in works:
                shared.forget_starts(work.piece.name)
                start(work)
            room = time.monotonic()
            while running or paused:
                for reference in _wait(cluster, list(running)):
                    work = running.pop(reference)
                    work.look(shared)
                    if not _ended(cluster, shared, reference, work):
                        paused.append(work)
                for work in [work for work in paused if work.again <= time.monotonic()]:
                    paused.remove(work)
                    start(work)
                for work in running.values():
                    work.look(shared)
                display.show([work.row() for work in works])
                request.check()
                if time.monotonic() - room > _ROOM_SECONDS:
                    room = time.monotonic()
                    if not cluster.fits(each):
                        warn(f"no node is left that has {each}; waiting for one")
        except BaseException:
            _stop(cluster, list(running))
            raise
    failed = [work.piece.name for work in works if work.state == "failed"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(works)} {what} failed: {first_of(failed)}; the same command goes on with them "
            f"(what they have printed is in {shared.path})"
        )
    for piece in pieces:
        if piece.result is not None and not seen_within(piece.result, SEEN_SECONDS):
            raise UserError(
                f"{piece.result}: is not seen here after {SEEN_SECONDS:.0f} s, though {piece.name} has ended well; "
                "give the same command again"
            )


def _wait(cluster: Cluster, references: list[Any]) -> list[Any]:
    """Waits a turn, or until a task ends; returns those that have."""
    if not references:
        time.sleep(_TURN_SECONDS)
        return []
    return list(cluster.ray.wait(references, timeout=_TURN_SECONDS)[0])


def _ended(cluster: Cluster, shared: SharedFolder, reference: Any, work: _Work) -> bool:
    """Settles a piece whose task has ended; returns False if it has to be started again."""
    errors, name = cluster.ray.exceptions, work.piece.name
    try:
        ended: Ended = cluster.ray.get(reference)
    except (
        errors.WorkerCrashedError,
        errors.NodeDiedError,
        errors.LocalRayletDiedError,
        errors.OutOfMemoryError,
        errors.ObjectLostError,
    ) as error:
        reason = f"its worker was lost ({type(error).__name__})"
    except errors.RayError as error:
        said = last_line(str(error)) or type(error).__name__
        work.state = "failed"
        console.print(f"{name}: failed: {said}")
        return True
    else:
        work.node = ended.node
        if ended.status == 0:
            work.state = "done"
            console.print(f"{name}: done on {ended.node} after {duration(time.monotonic() - work.begun)}")
            return True
        if not ended.cut_off:
            work.state = "failed"
            console.print(f"{name}: failed on {ended.node}: {ended.said}")
            return True
        reason = f"a signal ended it (status {ended.status})"
    work.lost, work.starts = work.lost + 1, len(shared.starts(name))
    if work.lost > len(PAUSES):
        work.state = "failed"
        console.print(f"{name}: failed: {reason}, for the {work.lost}th time")
        return True
    pause = PAUSES[work.lost - 1]
    work.state, work.again = "waiting", time.monotonic() + pause
    where = f" on {work.node}" if work.node else ""
    when = f" in {duration(pause)}" if pause else ""
    console.print(f"{name}: {reason}{where}; it is started again{when} ({work.lost} of at most {len(PAUSES)} times)")
    return False


def _stop(cluster: Cluster, references: list[Any]) -> None:
    """Asks all pieces to stop, and waits until they have."""
    for reference in references:
        cluster.ray.cancel(reference, force=False)
    if references:
        _, left = cluster.ray.wait(references, num_returns=len(references), timeout=STOP_SECONDS + 30)
        if left:
            warn(f"not stopped yet: {len(left)}; they end with their workers")
