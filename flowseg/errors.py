"""The one error that users are meant to see."""


class UserError(Exception):
    """Something the user can mend.

    The message is one line: what is wrong, where (file, field, value) and what to do. The command line
    prints it without a traceback and exits with status 1.
    """
