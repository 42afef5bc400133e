"""The `flowseg` program, and `python -m flowseg`."""

import sys


def run() -> None:
    """Runs the program; a Ctrl-C while it is still being imported ends it like any other."""
    try:
        from flowseg.cli import command

        command()
    except KeyboardInterrupt:
        print("flowseg: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
