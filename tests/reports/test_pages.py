"""Values in report pages: escaped, and shown as numbers a reader expects."""

import pytest
from jinja2 import UndefinedError

from flowseg.reports import pages
from flowseg.reports.pages import markdown, number, percent, signed, small


def test_numbers() -> None:
    assert (number(0.12345), number(3.0, 0), number(None)) == ("0.1235", "3", "–")
    assert (signed(0.01), signed(-0.01), signed(0.0)) == ("+0.0100", "-0.0100", "0")
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
    assert pages.data_uri(png).startswith("data:image/png;base64,iVBOR")
    assert pages.data_uri(webp).startswith("data:image/webp;base64,UklGR")
