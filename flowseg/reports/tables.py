"""Tables of a report as data, and numbers as text. flowseg.reports.forms writes them as HTML and as Markdown."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Column:
    """The head of a column. The first column of a table names its rows, whatever its kind."""

    head: str
    kind: Literal["number", "short", "long"] = "number"
    """Numbers are aligned right; text is aligned left and wraps, `short` text (names) in a narrower column."""


@dataclass(frozen=True)
class Cell:
    """One value as readers see it."""

    text: str
    note: str = ""
    """Shown smaller: an interval, an epoch, a count."""
    best: bool = False
    """Whether this value decides for a winner, or names it."""
    link: str = ""
    """Anchor in the same page."""
    sort: float | str | None = None
    """What a sortable table sorts this cell by; None comes last."""


@dataclass(frozen=True)
class Table:
    """A table of a report."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    folded: bool | None = None
    """Whether the table is closed at first, if readers can open and close it; None: it is always open."""
    sortable: bool = False


Described = tuple[Column | str, Callable[[Any], Cell | str]]
"""The head of a column and the function from an item to its cell. A plain string stands for a column of numbers, or
for a cell that is only text."""


def table(items: Iterable[Any], *columns: Described, title: str = "", **options: bool) -> Table:
    """A table with a row for each item; options are `folded` and `sortable`, as in Table."""
    heads = [Column(head) if isinstance(head, str) else head for head, _ in columns]
    made = [[value(item) for _, value in columns] for item in items]
    return Table(heads, [[Cell(c) if isinstance(c, str) else c for c in row] for row in made], title, **options)


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed decimals; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """A number with its sign; an exact zero is 0, and what is rounded to zero has no sign. A dash for None."""
    return "–" if value is None else without_sign_of_zero(f"{value:+.{digits}f}") if value else "0"


def without_sign_of_zero(text: str) -> str:
    """The text of a number, without its sign if all its digits are zeros."""
    return text[1:] if re.fullmatch(r"[+-][0.]+", text) else text


def small(value: float | None) -> str:
    """A p value or another number that may be small, to two significant digits; a dash for None."""
    return "–" if value is None else f"{value:.2g}"


def percent(value: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def estimate(
    found: dict[str, Any] | None, digits: int = 4, sign: bool = False, to: str = "to", best: bool = False
) -> Cell:
    """A `mean`, `difference` or `ratio`, with its interval `low` to `high` (None if there is none) as the note.

    With `sign`, all three are shown with their sign, as differences are.
    """
    if found is None:
        return Cell("–")
    text = signed if sign else number
    value = next(found[name] for name in ("difference", "mean", "ratio") if name in found)
    low, high = text(found["low"], digits), text(found["high"], digits)
    return Cell(text(value, digits), "" if found["low"] is None else f"{low} {to} {high}", best)
