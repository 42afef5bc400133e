"""Shows pieces of work: one live table on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowseg.cluster.folder import Seen
from flowseg.progress import console, duration

_SECONDS_BETWEEN_LINES = 30.0
_MOST_ROWS = 24


@dataclass(frozen=True)
class Row:
    """A piece as it is shown."""

    name: str
    state: str
    """waiting, running, done or failed."""
    node: str
    seen: Seen | None
    left: float | None
    """Seconds to its end."""

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed")

    def share(self) -> float:
        """Returns which part of it is done, from 0 to 1."""
        if self.finished or self.seen is None or not self.seen.total:
            return float(self.finished)
        return min(1.0, self.seen.done / self.seen.total)


class Display(AbstractContextManager["Display"]):
    """Shows the pieces while the block runs; `what` they are, in words."""

    def __init__(self, what: str):
        self._what = what
        self._start = self._said = time.monotonic()
        self._before: float | None = None
        self._known: dict[str, str] = {}
        self._shown: list[tuple[str, Seen | None]] = []
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        if self._live is not None:
            self._live.start()

    def show(self, rows: Sequence[Row]) -> None:
        """Shows the present state of all pieces."""
        done = sum(row.share() for row in rows)
        if self._before is None:
            self._start, self._before = time.monotonic(), done
        if self._live is not None:
            self._live.update(self._table(rows, done), refresh=True)
            return
        for row in rows:
            if row.state == "running" and self._known.get(row.name) != "running":
                console.print(f"{row.name}: started on {row.node}")
            self._known[row.name] = row.state
        progress = [(row.state, row.seen) for row in rows]
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES and progress != self._shown:
            self._said, self._shown = time.monotonic(), progress
            console.print("; ".join([self._summary(rows, done), *(_line(r) for r in rows if r.seen and _runs(r))]))

    def _summary(self, rows: Sequence[Row], done: float) -> str:
        counts = Counter(row.state for row in rows)
        states = ", ".join(f"{counts[s]} {s}" for s in ("done", "failed", "running", "waiting") if counts[s])
        gained = done - (self._before or 0.0)
        seconds = (time.monotonic() - self._start) / gained * (len(rows) - done) if gained > 0 else 0.0
        return f"{len(rows)} {self._what}: {states}" + (f", about {duration(seconds)} left" if seconds else "")

    def _table(self, rows: Sequence[Row], done: float) -> Table:
        shown = rows if len(rows) <= _MOST_ROWS else [row for row in rows if _runs(row)][:_MOST_ROWS]
        table = Table(title=Text(self._summary(rows, done)), title_justify="left")
        for name in ("task", "state", "node", "step", "", "left"):
            table.add_column(name, justify="right" if name in ("step", "left") else "left")
        for row in shown:
            seen = row.seen
            step = f"{seen.done:g}/{seen.total:g}" if seen else ""
            left = duration(row.left) if row.left is not None else ""
            table.add_row(*(Text(t) for t in (row.name, row.state, row.node, step, seen.note if seen else "", left)))
        return table

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()


def _runs(row: Row) -> bool:
    return row.state == "running"


def _line(row: Row) -> str:
    assert row.seen is not None
    note = f" {row.seen.note}" if row.seen.note else ""
    left = f", {duration(row.left)} left" if row.left is not None else ""
    return f"{row.name} {row.seen.done:g}/{row.seen.total:g}{note}{left}"
