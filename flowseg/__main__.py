"""The `flowseg` program, and `python -m flowseg`."""

# Nothing else is imported before a Ctrl-C is held back: until then Python answers it, with a traceback.
import signal
import sys


def run() -> None:
    """Runs the program; a Ctrl-C or a UserError while it is still being imported ends it like any other."""
    if sys.platform != "win32":
        # A Ctrl-C waits until it can be answered, also while Python starts once more (use_huge_pages).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    from flowseg.commands.startup import name_output, open_streams, use_huge_pages
    from flowseg.errors import UserError, tell

    open_streams()
    name_output()
    try:
        import flowseg.files  # noqa: F401 (on Windows it says what is missing there)
        from flowseg.training.interrupt import answer_signals, stop_at_eof

        use_huge_pages()
        answer_signals()
        stop_at_eof()  # before the imports, which take seconds
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        from flowseg.cli import main

        main()
    except UserError as error:
        tell(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        tell("stopped")
        sys.exit(130)
    finally:
        # Only exit handlers are left, where an exception would be a traceback: a signal now ends the process at once.
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)


if __name__ == "__main__":
    run()
