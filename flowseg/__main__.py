"""The `flowseg` program, and `python -m flowseg`."""

import sys

from flowseg.errors import UserError


def run() -> None:
    """Runs the program; a Ctrl-C or a UserError while it is still being imported ends it like any other."""
    try:
        from flowseg.cli import command

        command()
    except UserError as error:
        print(f"flowseg: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("flowseg: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
