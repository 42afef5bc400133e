"""The error for users is one printable line, whatever is in the names and files that it speaks of."""

from flowseg.errors import UserError


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert (
        str(UserError("a\x1b[2Jb: no such\nfile\r; é 血管 \x00\udcff"))
        == "a\\x1b[2Jb: no such file ; é 血管 \\x00\\udcff"
    )
