"""Reads command lines and config files into typed values; a mistake in them is a UserError of one line."""

import contextlib
import inspect
import io
import itertools
import re
import runpy
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro

from flowseg.bounds import check_options
from flowseg.config import Config
from flowseg.errors import UserError

T = TypeVar("T")
_OPTION = re.compile(r"--?[A-Za-z]")

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has them inside of the package (setup.py), a clone beside it.
SHIPPED = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
"""The folder of the configs that come with flowseg."""


def find_config(name: str) -> Path:
    """Returns the file of a config: one that comes with flowseg, by its name, or any file.

    Raises:
        UserError: there is neither.
    """
    shipped = SHIPPED / f"{name}.py"
    if re.fullmatch(r"\w+", name) and shipped.is_file():
        return shipped
    if not Path(name).is_file():
        raise UserError(f"{name}: no such config; give {_choice()}")
    return Path(name)


def _choice() -> str:
    """Returns what may be given as a config, in words."""
    names = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.py")))
    return f"a file, or one of {names}" if names else "a file"


def load_config(path: Path) -> Config:
    """Returns the `config` that a Python file defines.

    Raises:
        UserError: the file is missing, cannot be run, or defines no valid config.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such config file")
    try:
        config = runpy.run_path(str(path)).get("config")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # it is the user's program: anything may come out of it
        field = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        said = f"{type(error).__name__}: {' '.join(str(error).split())}{_line_in(path, error)}"
        reason = f"unknown config field {field[1]}: remove it or correct its name" if field else said
        raise UserError(f"{path}: {reason}") from None
    if not isinstance(config, Config):
        raise UserError(f"{path}: defines no `config` of type flowseg.config.Config")
    return config


def _line_in(path: Path, error: BaseException) -> str:
    """Returns the line of a file that an error came through, in words; nothing if it came through none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def default_is(text: str) -> Any:
    """Returns the annotation of an option whose help shows its default in words, in place of None."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


def _one_line(text: str) -> str:
    """Returns tyro's boxed error message as one line."""
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


def _check_repeated(args: list[str]) -> None:
    """Raises a UserError for an option that is given twice with different values; tyro would take the last."""
    given: dict[str, str] = {}
    for i, arg in enumerate(args):
        if not _OPTION.match(arg):
            continue
        name, equals, value = arg.partition("=")
        name = name.replace("_", "-")
        if not equals:
            following = itertools.takewhile(lambda other: not _OPTION.match(other), args[i + 1 :])
            value = " ".join(following)
        positive = re.sub(r"^(--(?:.*\.)?)no-", r"\1", name)
        if positive != name:
            name, value = positive, "no"
        if given.setdefault(name, value) != value:
            raise UserError(
                f"{name} is given twice, as {given[name]!r} and {value!r}; give it once (with make: by its variable, "
                "for example PRESET or SPLIT, not in ARGS)"
            )


def _tyro(cls: type, args: list[str], command: str, **more: Any) -> Any:
    """Calls tyro, and turns the error box it would print into a UserError of one line."""
    _check_repeated(args)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(cls, args=args, prog=f"flowseg {command}", description=inspect.getdoc(cls), **more)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        reason = _one_line(errors.getvalue()).replace("Unrecognized options:", "unknown config field or option:")
        raise UserError(f"{reason} (see flowseg {command} --help)") from None


def parse(cls: type[T], args: list[str], command: str, default: T | None = None) -> T:
    """Returns a command's options; those that are not given keep the values of `default`.

    Raises:
        UserError: an unknown option, or a value of the wrong type or out of its bounds.
    """
    parsed: T = _tyro(cls, args, command, **({} if default is None else {"default": default}))
    check_options(parsed)
    return parsed


def parse_known(cls: type[T], args: list[str], command: str) -> tuple[T, list[str]]:
    """Returns a command's options, and the arguments that it does not know.

    Raises:
        UserError: a value of the wrong type or out of its bounds.
    """
    parsed: tuple[T, list[str]] = _tyro(cls, args, command, return_unknown_args=True)
    check_options(parsed[0])
    return parsed


SHORT = {"--data": "--data.root", "--embeddings": "--embeddings.store"}
"""Options that have the same name in every command, and the config fields that they set."""


def with_field_names(args: list[str]) -> list[str]:
    """Returns the arguments with `--data` and `--embeddings` written as the config fields that they set."""
    split = (arg.partition("=") for arg in args)
    return [SHORT.get(name, name) + equals + value for name, equals, value in split]


def value_of(args: list[str], flag: str, default: str) -> str:
    """Returns the value of an option before the command line is parsed, or `default` if it is not given."""
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{flag}="):
            return arg.split("=", 1)[1]
    return default


def with_value(args: list[str], flag: str, value: str) -> list[str]:
    """Returns the arguments with an option set to a value, in place of the one that is given, if any."""
    rest: list[str] = []
    skip = False
    for arg in args:
        if not skip and arg != flag and not arg.startswith(f"{flag}="):
            rest.append(arg)
        skip = arg == flag
    return [*rest, flag, value]


def with_config(cls: type[T], args: list[str], command: str, adapt: Callable[[Config], Config]) -> T:
    """Parses a command with the fields `config_file` and `config`: the file's values are the options' defaults.

    The config comes first on the command line. `adapt` is applied to it before the options.

    Raises:
        UserError: no config, or one that does not exist; and what `parse` raises.
    """
    given = bool(args) and not args[0].startswith("-")
    if not given and not {"-h", "--help"} & set(args):
        raise UserError(f"give the config first: {_choice()} (see flowseg {command} --help)")
    base = Config()
    if given:
        file = find_config(args[0])
        base, args = adapt(load_config(file)), [str(file), *args[1:]]
    default = cls(config_file=tyro.MISSING, config=base)  # type: ignore[call-arg]
    return parse(cls, args, command, default=default)
