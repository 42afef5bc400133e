"""The error meant for users."""

from collections.abc import Sequence


class UserError(Exception):
    """A problem that the user can solve.

    The message is one line: what is wrong, where (file, field, value) and what to do. The command line prints it
    without a traceback and exits with status 1.
    """


def first_of(names: Sequence[str]) -> str:
    """Returns the first three names for a message, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
