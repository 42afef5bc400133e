"""The `flowseg` command."""

import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from flowseg.commands.analyze import AnalyzeFilm, analyze_film
from flowseg.commands.compare import Compare, compare
from flowseg.commands.embed import Embed, EmbedInfo, EmbedMerge, embed, embed_info, embed_merge
from flowseg.commands.experiment import Experiment, experiment
from flowseg.commands.parsing import parse, with_config
from flowseg.commands.phantoms import Phantoms, phantoms
from flowseg.commands.predict import Predict, predict
from flowseg.commands.sampling import OnSplit, Sampling, with_run
from flowseg.commands.train import Train, train
from flowseg.config import Config, FilmPoint
from flowseg.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Eval(Sampling, OnSplit):
    """Score a run's best checkpoint on a split."""


@dataclass(frozen=True)
class Params:
    """Count a config's parameters."""

    config_file: tyro.conf.Positional[Path]
    """For example configs/vlm_film.py."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    json: bool = False
    """Totals as JSON instead of a table."""


@dataclass(frozen=True)
class ImportTorch:
    """Make a run of a checkpoint of the original PyTorch experiment."""

    checkpoint: tyro.conf.Positional[Path]
    """The original's .ckpt file."""
    out: Path
    """Folder of the run."""
    image_size: int | None = None
    """Side of its training crops; default: as the checkpoint says."""
    full_attention_at: tuple[int, ...] | None = None
    """Sides of its maps with softmax attention; default: as the checkpoint says."""
    film_point: FilmPoint = "after_block1"
    """Where FiLM acts in it."""


def evaluate(args: list[str]) -> None:
    """flowseg eval"""
    from flowseg.experiment import evaluate_run

    parsed, run = with_run(Eval, args, "eval")
    settings = parsed.settings(run.config.eval)
    evaluate_run(run, parsed.split, settings=settings, data=parsed.data, embeddings=parsed.embeddings)


def params(args: list[str]) -> None:
    """flowseg params"""
    from clu import parameter_overview

    from flowseg.models.network import abstract_params, parameter_counts

    parsed = with_config(Params, args, "params", lambda config: config)
    tree = abstract_params(parsed.config)
    counts = parameter_counts(tree)
    if parsed.json:
        print(json.dumps(counts))
    else:
        print(parameter_overview.get_parameter_overview(tree, include_stats=False))
        print("  ".join(f"{name}: {value:,}" for name, value in counts.items()))


def import_torch(args: list[str]) -> None:
    """flowseg import-torch"""
    from flowseg.interop.checkpoint_files import import_run
    from flowseg.progress import console

    parsed = parse(ImportTorch, args, "import-torch")
    run = import_run(
        parsed.checkpoint,
        parsed.out,
        image_size=parsed.image_size,
        full_attention_at=parsed.full_attention_at,
        film_point=parsed.film_point,
    )
    console.print(f"{parsed.checkpoint.name} is now a run: {run.path}; score it with: flowseg eval {run.path}")


COMMANDS: dict[str, tuple[Callable[[list[str]], None], type]] = {
    "train": (train, Train),
    "experiment": (experiment, Experiment),
    "eval": (evaluate, Eval),
    "predict": (predict, Predict),
    "params": (params, Params),
    "embed": (embed, Embed),
    "embed merge": (embed_merge, EmbedMerge),
    "embed info": (embed_info, EmbedInfo),
    "analyze film": (analyze_film, AnalyzeFilm),
    "compare": (compare, Compare),
    "phantoms": (phantoms, Phantoms),
    "import-torch": (import_torch, ImportTorch),
}


def _usage() -> str:
    lines = ["usage: flowseg COMMAND ...   (flowseg COMMAND --help tells its options)", ""]
    return "\n".join(lines + [f"  {name:14}{cls.__doc__}" for name, (_, cls) in COMMANDS.items()])


def set_up_jax() -> None:
    """Traces and compiled programs are kept between starts, under the cache folder unless their variables name one."""
    from flowseg.data.phantom import phantom_root

    # Tracing the network makes millions of objects that stay: searching them for garbage takes a tenth of a start.
    gc.set_threshold(100_000, 50, 1000)

    cache = phantom_root().parent
    os.environ.setdefault("FLOWSEG_TRACES", str(cache / "traces"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


def use_huge_pages() -> None:
    """Starts this process again with huge pages for glibc's memory, unless GLIBC_TUNABLES says otherwise.

    A step takes and frees temporaries of many megabytes; clearing them page by page takes up to a quarter of its time
    (docs/performance.md). glibc reads the setting only when a process starts. For programs of their own: whatever else
    lives in the process is lost.
    """
    if sys.platform.startswith("linux") and "GLIBC_TUNABLES" not in os.environ:
        environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def command() -> None:
    """The `flowseg` command as a program."""
    use_huge_pages()
    main()


def main() -> None:
    """Runs a command: a UserError becomes one line and exit status 1; a stop by a signal 128 + its number."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if arguments else 2)
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    if name not in COMMANDS:
        print(f"flowseg: unknown command {name}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    set_up_jax()
    from flowseg.training.interrupt import Interrupted

    try:
        COMMANDS[name][0](rest)
    except UserError as error:
        print(f"flowseg: {error}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as stopped:
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        print("flowseg: stopped", file=sys.stderr)
        sys.exit(130)
