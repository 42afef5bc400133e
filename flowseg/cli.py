"""The `flowseg` command."""

import os
import platform
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version

from flowseg import __version__
from flowseg.commands.compare import Compare, compare
from flowseg.commands.data import DataImport, DataSplit, data_import, data_split
from flowseg.commands.data_check import DataCheck, data_check
from flowseg.commands.doctor import Doctor, doctor
from flowseg.commands.embed import Embed, EmbedInfo, EmbedMerge, embed, embed_info, embed_merge
from flowseg.commands.experiment import Experiment, experiment
from flowseg.commands.export import Export, export
from flowseg.commands.import_torch import ImportTorch, import_torch
from flowseg.commands.phantoms import Phantoms, phantoms
from flowseg.commands.report import Report, report
from flowseg.commands.startup import set_up_jax, use_huge_pages
from flowseg.commands.train import Params, Train, params, train
from flowseg.commands.trained import AnalyzeFilm, Eval, Predict, analyze_film, evaluate, predict
from flowseg.errors import UserError

COMMANDS: dict[str, tuple[Callable[[list[str]], None], type]] = {
    "train": (train, Train),
    "experiment": (experiment, Experiment),
    "eval": (evaluate, Eval),
    "predict": (predict, Predict),
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
}


def _usage() -> str:
    lines = ["usage: flowseg COMMAND ...   (flowseg COMMAND --help lists its options)", "       flowseg --version", ""]
    lines += [f"  {name:14}{str(cls.__doc__).splitlines()[0]}" for name, (_, cls) in COMMANDS.items()]
    return "\n".join(lines)


def command() -> None:
    """Runs the `flowseg` program."""
    use_huge_pages()
    main()


def main() -> None:
    """Runs the command in sys.argv. A UserError becomes one line and exit status 1; a signal, 128 + its number."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if arguments else 2)
    if arguments == ["--version"]:
        print(f"flowseg {__version__} (JAX {version('jax')}, Python {platform.python_version()})")
        return
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name not in COMMANDS:
        print(f"flowseg: unknown command {name}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    set_up_jax()
    from flowseg.training.interrupt import Interrupted

    try:
        COMMANDS[name][0](rest)
        sys.stdout.flush()
    except UserError as error:
        print(f"flowseg: {error}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as stopped:
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        print("flowseg: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output has gone (`| head`). Python would fail again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
