"""Values in report pages: escaped, and shown as numbers a reader expects."""

import pytest
from jinja2 import UndefinedError

from flowseg.reports import pages
from flowseg.reports.forms import Html, Markdown, data_uri, markdown
from flowseg.reports.tables import Cell, Column, estimate, number, percent, signed, small, table


def test_numbers() -> None:
    assert (number(0.12345), number(3.0, 0), number(None)) == ("0.1235", "3", "–")
    assert (signed(0.01), signed(-0.01), signed(0.0)) == ("+0.0100", "-0.0100", "0")
    assert (signed(-1e-5), signed(1e-5), signed(-0.4, 0)) == ("0.0000", "0.0000", "0")  # rounded to zero
    assert (small(0.00012345), small(1.0), percent(0.1234), percent(None)) == ("0.00012", "1", "12.3 %", "–")


def test_markdown_shows_text_as_it_is() -> None:
    assert markdown("a|b") == r"a\|b" and markdown("*x*\n# y") == r"\*x\* \# y"
    assert markdown("<script>") == "&lt;script&gt;"
    assert markdown("own - other: 0.5") == "own - other: 0.5"


def test_a_missing_value_is_no_gap() -> None:
    with pytest.raises(UndefinedError):
        pages._environment().from_string("a {{ gone }} b").render()


def test_pictures_say_what_they_are() -> None:
    png, webp = b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP"
    assert data_uri(png).startswith("data:image/png;base64,iVBOR")
    assert data_uri(webp).startswith("data:image/webp;base64,UklGR")


MARKUP = "<b>|x|&"


def test_a_table_holds_the_same_in_both_forms() -> None:
    shown = table(
        [("a", 0.5), (MARKUP, None)],
        ("name", lambda row: row[0]),
        (MARKUP, lambda row: Cell(number(row[1]), "a note" if row[1] else "", best=row[1] is not None)),
        (Column("why", "short"), lambda row: "said"),
        title="A title",
    )
    html, text = Html({}).table(shown), Markdown().table(shown)
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == ["| name", "&lt;b&gt;\\|x\\|&amp;", "why |"] and lines[1] == ["|---|---:|---|"]
    assert lines[2] == ["| a", "0.5000 (a note)", "said |"] and lines[3][1:] == ["–", "said |"]
    assert text.startswith("### A title\n") and "<h3>A title</h3>" in html
    assert '<td class="won">0.5000<small>a note</small></td><td class="text short">said</td>' in html
    assert html.count("&lt;b&gt;|x|&amp;") == 2 and "<b>" not in html + text


def test_both_forms_have_the_same_methods() -> None:
    public = [{name for name in vars(form) if not name.startswith("_")} for form in (Html, Markdown)]
    assert public[0] - public[1] == {"picture"} and public[1] <= public[0]


def test_an_interval_is_a_note() -> None:
    found = {"mean": 0.5, "low": 0.4, "high": 0.61}
    assert estimate(found, 2) == Cell("0.50", "0.40 to 0.61")
    assert estimate({"difference": 0.5, "low": -0.4, "high": 1}, 1, sign=True, to="~") == Cell("+0.5", "-0.4 ~ +1.0")
    assert estimate({"mean": 0.5, "low": None, "high": None}) == Cell("0.5000") and estimate(None) == Cell("–")
