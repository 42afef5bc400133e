"""The tables of a report on the terminal."""

import rich.table
from rich.text import Text

from flowseg.reports.tables import Table


def terminal_table(table: Table) -> rich.table.Table:
    """Returns a table of a report as rich prints it."""
    shown = rich.table.Table(title=table.title or None)
    for i, column in enumerate(table.columns):
        justify = "right" if i and column.kind == "number" else "left"
        shown.add_column(Text(column.head), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in table.rows:
        shown.add_row(*(Text(f"{cell.text} ({cell.note})" if cell.note else cell.text) for cell in row))
    return shown
