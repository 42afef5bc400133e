"""The two forms of a report: HTML and Markdown.

A template (flowseg/reports/templates/*.j2) is written once, in terms of the methods that both forms have.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape as escape_html

from markupsafe import Markup

from flowseg.reports.markup import element
from flowseg.reports.tables import Cell, Column, Table

_MARKDOWN = re.compile(r"([\\`*_{}\[\]#!|~])")
_CLASSES = {"number": "", "short": "text short", "long": "text"}


class Html:
    """HTML in one file that holds its pictures."""

    html = True

    def __init__(self, pictures: Mapping[str, bytes]):
        self._pictures = pictures

    def heading(self, level: int, text: str, anchor: str = "") -> Markup:
        """A heading that a link can lead to."""
        return element(f"h{level}", text, id=anchor or None)

    def text(self, *sentences: str, note: bool = False) -> Markup:
        """A paragraph; a note explains what stands above it."""
        return element("p", " ".join(sentences).strip(), class_="note" if note else None)

    def bullets(self, lines: Sequence[str]) -> Markup:
        """A list of sentences."""
        return element("ul", *(element("li", line) for line in lines))

    def facts(self, rows: Mapping[str, str]) -> Markup:
        """Names and what they stand for."""
        return element("dl", *(part for row in rows.items() for part in map(element, ("dt", "dd"), row)))

    def verdict(self, lines: Sequence[str], reasons: Sequence[str] = ()) -> Markup:
        """The report's answer, and the reasons for it."""
        shown = [element("p", line) for line in lines]
        return element("div", *shown, *([self.bullets(reasons)] if reasons else []), class_="verdict")

    def figure(self, file: str, caption: str, more: str = "", drawing: Markup | None = None) -> Markup:
        """A picture with its caption, which `more` continues; HTML shows an svg `drawing` instead of the file."""
        # An img has no end, so it cannot be an element.
        picture = drawing or Markup('<img src="{}" alt="{}">').format(self.picture(file), caption)
        return element("figure", picture, element("figcaption", f"{caption} {more}".rstrip()))

    def picture(self, file: str) -> Markup:
        """The address of a picture: a data URI."""
        return data_uri(self._pictures[file])

    def table(self, table: Table) -> Markup:
        """A table under its title; a wide one scrolls by itself."""
        heads = []
        for i, column in enumerate(table.columns):
            name = element("button", column.head, type="button") if table.sortable else column.head
            kind = "name" if table.sortable and not i else _CLASSES[column.kind] or None
            heads.append(element("th", name, class_=kind, scope="col"))
        rows = []
        for row in table.rows:
            cells = (_cell(cell, column, table.sortable) for cell, column in zip(row, table.columns, strict=True))
            rows.append(element("tr", *cells) + "\n")
        parts = (element("thead", element("tr", *heads)), element("tbody", "\n", *rows))
        shown = element("div", element("table", *parts, class_="sortable" if table.sortable else None), class_="wide")
        if table.folded is not None:
            return element("details", element("summary", table.title), shown, open=not table.folded)
        return self.heading(3, table.title) + shown if table.title else shown


def _cell(cell: Cell, column: Column, sortable: bool) -> Markup:
    text = element("a", cell.text, href=f"#{cell.link}") if cell.link else cell.text
    note = [element("small", cell.note)] if cell.note else []
    kind = f"{_CLASSES[column.kind]}{' won' if cell.best else ''}".strip() or None
    # As text, with all its digits; an empty value comes last.
    sort = ("" if cell.sort is None else str(cell.sort)) if sortable else None
    return element("td", text, *note, class_=kind, data_v=sort)


class Markdown:
    """Markdown beside the files of its pictures. The methods are those of `Html`."""

    html = False

    def heading(self, level: int, text: str, anchor: str = "") -> Markup:
        return Markup(f"{'#' * level} {markdown(text)}\n")

    def text(self, *sentences: str, note: bool = False) -> Markup:
        return Markup(f"{markdown(' '.join(sentences))}\n")

    def bullets(self, lines: Sequence[str]) -> Markup:
        return Markup("".join(f"- {markdown(line)}\n" for line in lines))

    def facts(self, rows: Mapping[str, str]) -> Markup:
        return self.bullets([f"{name}: {value}" for name, value in rows.items()])

    def verdict(self, lines: Sequence[str], reasons: Sequence[str] = ()) -> Markup:
        return Markup("".join(f"**{markdown(line)}**\n\n" for line in lines)) + self.bullets(reasons)

    def figure(self, file: str, caption: str, more: str = "", drawing: Markup | None = None) -> Markup:
        return Markup(f"![{markdown(caption)}]({file})\n\n") + self.text(caption, more)

    def table(self, table: Table) -> Markup:
        rows = [[column.head for column in table.columns]]
        rows += [[f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row] for row in table.rows]
        lines = [f"| {' | '.join(map(markdown, row))} |\n" for row in rows]
        right = [i > 0 and column.kind == "number" for i, column in enumerate(table.columns)]
        lines.insert(1, "".join("|---:" if number else "|---" for number in right) + "|\n")
        return (self.heading(3, table.title) + "\n" if table.title else "") + Markup("".join(lines))


def markdown(text: object) -> str:
    """Text as Markdown that shows it as it is: on one line, without markup of its own."""
    return escape_html(_MARKDOWN.sub(r"\\\1", " ".join(str(text).split())), quote=False)


def data_uri(picture: bytes) -> Markup:
    """A PNG or WebP file as the address of a picture in a page."""
    kind = "webp" if picture.startswith(b"RIFF") else "png"
    # Safe in an attribute: base64 has no quotes.
    return Markup(f"data:image/{kind};base64,") + base64.b64encode(picture).decode()
