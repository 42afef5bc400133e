"""Report pages from templates: HTML in one file, and Markdown beside its plots."""

import base64
import re
from collections.abc import Mapping
from functools import cache
from html import escape as escape_html
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_MARKDOWN = re.compile(r"([\\`*_{}\[\]#!|~])")


def render(template: str, *, pictures: Mapping[str, bytes], **values: Any) -> str:
    """A page of flowseg/reports/templates.

    Args:
        template: its file name; in NAME.html.j2 every value is escaped, in NAME.md.j2 those put through `md` are.
        pictures: PNG or WebP files by name; `picture(name)` gives a data URI of one.
        values: what the template names; a name that is missing is an error, not a gap.
    """

    def picture(name: str) -> Markup:
        return data_uri(pictures[name])

    return _environment().get_template(template).render(picture=picture, pictures=pictures, **values)


def data_uri(picture: bytes) -> Markup:
    """A PNG or WebP file as the address of a picture in a page."""
    kind = "webp" if picture.startswith(b"RIFF") else "png"
    # Safe in an attribute: base64 has no quotes.
    return Markup(f"data:image/{kind};base64,") + base64.b64encode(picture).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flowseg.reports"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, signed=signed, small=small, percent=percent, md=markdown)
    return environment


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed decimals; a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int = 4) -> str:
    """A number with its sign; an exact zero has none."""
    return f"{value:+.{digits}f}" if value else "0"


def small(value: float | None) -> str:
    """A p value or another number that may be small: two significant digits."""
    return "–" if value is None else f"{value:.2g}"


def percent(value: float | None) -> str:
    """A share as a percentage; a dash for none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def markdown(text: object) -> str:
    """Text as Markdown that shows it: on one line, no markup of its own."""
    return escape_html(_MARKDOWN.sub(r"\\\1", " ".join(str(text).split())), quote=False)
