"""The one error that users are meant to see."""

from collections.abc import Sequence


class UserError(Exception):
    """Something the user can mend.

    The message is one line: what is wrong, where (file, field, value) and what to do. The command line
    prints it without a traceback and exits with status 1.
    """


def first_of(names: Sequence[str]) -> str:
    """Names in a message: the first three, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
