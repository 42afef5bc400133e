"""Report pages from templates: each is written once, and rendered as HTML in one file and as Markdown."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowseg.reports.forms import Html, Markdown

_FRAME = "page.html.j2"


def render(
    template: str, pictures: Mapping[str, bytes], script: str = "", lang: str = "en", **values: Any
) -> dict[str, str]:
    """The pages of a report by file name: report.html and report.md.

    The template and the HTML's script are files of flowseg/reports/templates. The template places headings, sentences,
    figures and tables by the methods of `page`, a flowseg.reports.forms.Html or Markdown. What it names, `title`
    among it, must be in `values`: a missing name is an error and not a gap. The HTML holds the pictures.
    """
    text = _environment().get_template(template).render(page=Markdown(), pictures=pictures, lang=lang, **values)
    return {
        "report.html": render_html(template, pictures, script, lang, **values),
        "report.md": re.sub("\n{3,}", "\n\n", text),
    }


def render_html(
    template: str, pictures: Mapping[str, bytes], script: str = "", lang: str = "en", **values: Any
) -> str:
    """The HTML page alone; the arguments are those of `render`."""
    values |= {"pictures": pictures, "lang": lang, "body": template, "script": script}
    return _environment().get_template(_FRAME).render(page=Html(pictures), **values)


def style(name: str) -> str:
    """A style sheet of flowseg/reports/templates."""
    return (resources.files("flowseg.reports") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("flowseg.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
