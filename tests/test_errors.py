"""The error for users is one printable line, whatever is in the names and files that it speaks of."""

import sys

import pytest

from flowseg.errors import UserError, counted, pip_install


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert (
        str(UserError("a\x1b[2Jb: no such\nfile\r; é 血管 \x00\udcff"))
        == "a\\x1b[2Jb: no such file ; é 血管 \\x00\\udcff"
    )


def test_a_noun_is_plural_unless_there_is_one() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_packages_are_installed_for_this_python_in_any_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/a clone/.venv/bin/python")
    assert pip_install("flowseg[app]") == "'/a clone/.venv/bin/python' -m pip install 'flowseg[app]'"
