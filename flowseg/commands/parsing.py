"""Command lines and config files into typed values; whatever does not fit is one line for the user."""

import contextlib
import io
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro

from flowseg.config import Config
from flowseg.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


def load_config(path: Path) -> Config:
    """The `config` that a Python file defines."""
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.py"))) if path.parent.is_dir() else ""
        raise UserError(f"{path}: no such config file" + (f"; there are: {known}" if known else ""))
    try:
        config = runpy.run_path(str(path)).get("config")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (TypeError, SyntaxError, NameError, ImportError, AttributeError) as error:
        field = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        reason = f"unknown config field {field[1]}: remove it or correct its name" if field else str(error)
        raise UserError(f"{path}: {reason}") from None
    if not isinstance(config, Config):
        raise UserError(f"{path}: defines no `config` of type flowseg.config.Config")
    return config


def _one_line(text: str) -> str:
    """tyro's boxed message as a line."""
    lines = [re.sub(r"[│╭╮╰╯─]+", " ", line).strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()]
    kept: list[str] = []
    for line in lines:
        if line.startswith(("For full helptext", "Argument helptext")):
            break
        if line:
            kept.append(line)
    heading = ("Unrecognized options", "Value error", "Invalid choice", "Parsing error", "Missing", "Required options")
    if len(kept) > 1 and kept[0].startswith(heading):
        kept = kept[1:]
    return " ".join(kept)


def _told(call: Callable[[], R], command: str) -> R:
    """A call of tyro, with its error boxes turned into a UserError of one line."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return call()
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        reason = _one_line(errors.getvalue()).replace("Unrecognized options:", "unknown config field or option:")
        raise UserError(f"{reason} (see flowseg {command} --help)") from None


def parse(cls: type[T], args: list[str], command: str, default: T | None = None) -> T:
    """A command's options, over those of `default`."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    prog = f"flowseg {command}"
    return _told(lambda: tyro.cli(cls, args=args, prog=prog, description=cls.__doc__, **given), command)


def parse_known(cls: type[T], args: list[str], command: str) -> tuple[T, list[str]]:
    """A command's options, and the arguments that are none of them."""
    prog = f"flowseg {command}"
    return _told(
        lambda: tyro.cli(cls, args=args, prog=prog, description=cls.__doc__, return_unknown_args=True), command
    )


def value_of(args: list[str], flag: str, default: str) -> str:
    """What follows a flag, before the command line is parsed."""
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{flag}="):
            return arg.split("=", 1)[1]
    return default


def with_config(cls: type[T], args: list[str], command: str, adapt: Callable[[Config], Config]) -> T:
    """Parses a command whose first argument is a config file, with the config's fields as options."""
    files = [arg for arg in args if arg.endswith(".py")]
    base = adapt(load_config(Path(files[0]))) if files else Config()
    default = cls(config_file=tyro.MISSING, config=base)  # type: ignore[call-arg]
    return parse(cls, args, command, default=default)
