"""The error for users is one printable line, whatever is in the names and files that it speaks of."""

from flowseg.errors import UserError, counted


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert (
        str(UserError("a\x1b[2Jb: no such\nfile\r; é 血管 \x00\udcff"))
        == "a\\x1b[2Jb: no such file ; é 血管 \\x00\\udcff"
    )


def test_a_noun_is_plural_unless_there_is_one() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
