"""Shows the progress of long work: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

# Without markup: a path such as runs/[a] is text.
console = Console(highlight=False, soft_wrap=True, markup=False)
if not console.is_terminal:
    console.width = 110  # a file or a pipe has no width; this one fits the tables without wrapping
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Sends progress and messages to standard error while the block runs, so that standard output holds data alone."""
    before, console.stderr = console.stderr, True
    try:
        yield
    finally:
        console.stderr = before


def warn(text: str) -> None:
    """Prints a warning."""
    console.print(Text.assemble(("WARNING", "bold"), f": {text}"))


def duration(seconds: float) -> str:
    """Returns seconds as text: 45 s, 3 min 20 s, 2 h 05 min or 3.5 days."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{seconds / 86400:.1f} days"


class Task:
    """Progress of one piece of work of known length.

    Args:
        work: how much work the items from one number to another are, in any unit; by default all take as long.
    """

    def __init__(self, name: str, total: int, done: int = 0, work: Callable[[int, int], float] = lambda a, b: b - a):
        self.name = name
        self._work = work
        self.total = total
        self.done = self._start_done = done
        self._start = self._said = time.monotonic()
        self._begun = False
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TextColumn("{task.fields[left]}"),
                console=console,
                transient=True,
            )
            self._id = self._bar.add_task(name, total=total, completed=done, note="", left="")
            self._bar.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Records that `count` more items are done; `note` is shown beside them, for example the loss."""
        now = time.monotonic()
        self.done += count
        if not self._begun:
            # The first item includes compilation, so the time left is estimated from the others.
            self._start, self._start_done, self._begun = now, self.done, True
        if self.done == self._start_done:
            left = ""
        else:
            share = self._work(self.done, self.total) / self._work(self._start_done, self.done)
            left = f"{duration((now - self._start) * share)} left"
        if self._bar is not None:
            self._bar.update(self._id, advance=count, note=note, left=left)
        elif now - self._said >= _SECONDS_BETWEEN_LINES and left:
            self._said = now
            console.print(f"{self.name} {self.done}/{self.total}{'  ' + note if note else ''}  {left}")

    def restart(self) -> None:
        """Leaves the items so far, and the next, which includes compilation, out of the estimate of the time left."""
        self._begun = False

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def task(name: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Shows progress while the block runs; yields the function to call after each item, `Task.advance`."""
    shown = Task(name, total, done)
    try:
        yield shown.advance
    finally:
        shown.close()
