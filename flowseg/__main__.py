"""The `flowseg` program, and `python -m flowseg`."""

import signal
import sys

from flowseg.errors import UserError


def run() -> None:
    """Runs the program; a Ctrl-C or a UserError while it is still being imported ends it like any other."""
    try:
        import flowseg.files  # noqa: F401 (on Windows it says what is missing there)

        # A Ctrl-C waits until it can be answered, also while Python starts once more (use_huge_pages).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        from flowseg.commands.startup import use_huge_pages
        from flowseg.training.interrupt import answer_signals

        use_huge_pages()
        answer_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        from flowseg.cli import main

        main()
    except UserError as error:
        sys.stderr.write(f"flowseg: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("flowseg: stopped\n")  # one write, so that no other line comes into it
        sys.exit(130)


if __name__ == "__main__":
    run()
