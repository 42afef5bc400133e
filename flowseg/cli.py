"""The `flowseg` command."""

import errno
import io
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from flowseg import __version__, hosts
from flowseg.commands.app import App, app
from flowseg.commands.compare import Compare, compare
from flowseg.commands.completion import Completion, completion
from flowseg.commands.data import DataImport, DataSplit, data_import, data_split
from flowseg.commands.data_check import DataCheck, data_check
from flowseg.commands.doctor import Doctor, doctor
from flowseg.commands.embed import Embed, EmbedInfo, EmbedMerge, embed, embed_info, embed_merge
from flowseg.commands.experiment import Experiment, experiment
from flowseg.commands.export import Export, export
from flowseg.commands.import_torch import ImportTorch, import_torch
from flowseg.commands.phantoms import Phantoms, phantoms
from flowseg.commands.report import Report, report
from flowseg.commands.startup import STANDARD_OUTPUT, set_up_jax
from flowseg.commands.train import Params, Train, params, train
from flowseg.commands.trained import AnalyzeFilm, Eval, Predict, analyze_film, evaluate, predict
from flowseg.errors import UserError, tell
from flowseg.files import is_text
from flowseg.training.interrupt import Interrupted, ctrl_c_raised

_DEBUG = "--debug"
_LONGEST = 300  # characters of an unexpected error's message

COMMANDS: dict[str, tuple[Callable[[list[str]], None], type]] = {
    "train": (train, Train),
    "experiment": (experiment, Experiment),
    "eval": (evaluate, Eval),
    "predict": (predict, Predict),
    "app": (app, App),
    "params": (params, Params),
    "doctor": (doctor, Doctor),
    "embed": (embed, Embed),
    "embed merge": (embed_merge, EmbedMerge),
    "embed info": (embed_info, EmbedInfo),
    "analyze film": (analyze_film, AnalyzeFilm),
    "report": (report, Report),
    "compare": (compare, Compare),
    "phantoms": (phantoms, Phantoms),
    "data import": (data_import, DataImport),
    "data split": (data_split, DataSplit),
    "data check": (data_check, DataCheck),
    "import-torch": (import_torch, ImportTorch),
    "export": (export, Export),
    "completion": (lambda args: completion(args, {name: cls for name, (_, cls) in COMMANDS.items()}), Completion),
}


def _usage() -> str:
    lines = ["usage: flowseg COMMAND ...   (flowseg COMMAND --help lists its options)", "       flowseg --version", ""]
    lines += [f"  {name:14}{str(cls.__doc__).splitlines()[0]}" for name, (_, cls) in COMMANDS.items()]
    lines += ["", f"{_DEBUG} anywhere on the command line shows the traceback of an unexpected error"]
    return "\n".join(lines)


def main() -> None:
    """Runs the command in sys.argv.

    The exit status is 1 after a UserError or an error of the file system, 70 (EX_SOFTWARE) after any other error, each
    with one line, and 128 + its number after a signal. With --debug, all but a UserError keep their traceback.
    """
    given = sys.argv[1:]
    arguments = [argument for argument in given if argument != _DEBUG]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    try:
        _run(arguments)
        sys.stdout.flush()
    except UserError as error:
        _end(str(error), 1)
    except Interrupted as stopped:
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        _end("stopped", 128 + signal.SIGINT)
    except BrokenPipeError:
        _discard_output()  # its reader has gone (`| head`)
        _leave(128 + signal.SIGPIPE)
    except Exception as error:
        if ctrl_c_raised():  # a library has made another error of it
            _end("stopped", 128 + signal.SIGINT)
        if len(arguments) < len(given):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename == STANDARD_OUTPUT:
                _discard_output()
            _end(_of_file_system(error), 1)
        _end(_unexpected(error), os.EX_SOFTWARE)


def _discard_output() -> None:
    """Sends what is left for standard output to nowhere. Python would fail again when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if arguments else 2)
    if arguments == ["--version"]:
        print(f"flowseg {__version__} (JAX {version('jax')}, Python {platform.python_version()})")
        return
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name not in COMMANDS:
        tell(f"unknown command {name}; choose one of {', '.join(COMMANDS)}")
        sys.exit(2)
    for argument in rest:
        if not is_text(argument):
            raise UserError(f"{argument!r}: is not UTF-8; rename the file or folder")
    set_up_jax()
    COMMANDS[name][0](rest)


def _end(message: str, status: int) -> NoReturn:
    tell(message)
    _leave(status)


def _leave(status: int) -> NoReturn:
    if hosts.count() > 1:
        os._exit(status)  # else JAX's runtime waits for the other processes
    sys.exit(status)


def _of_file_system(error: OSError) -> str:
    """Returns what the file system refused, where, and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    barred = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    remedy = "free some space" if full else "choose another folder, or allow it there" if barred else "check the path"
    return f"{error.filename or 'a file'}: {error.strerror}; {remedy}"


def _unexpected(error: Exception) -> str:
    """Returns an unexpected error as one line, with its place in flowseg and how to report it."""
    package = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if package in Path(frame.filename).parents]
    place = f"{Path(frames[-1].filename).relative_to(package.parent)}, line {frames[-1].lineno}"
    said = " ".join(str(error).split())[:_LONGEST]
    return (
        f"unexpected error ({type(error).__name__}: {said}) at {place}; this is a defect of flowseg: please report it "
        f"with what the same command with {_DEBUG} prints (CONTRIBUTING.md says where)"
    )
