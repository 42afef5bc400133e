"""The `flowseg` command."""

import contextlib
import gc
import io
import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from flowseg.config import Config, FilmPoint
from flowseg.errors import UserError

T = TypeVar("T")
Preset = Literal["full", "cpu", "auto"]


@dataclass(frozen=True)
class Train:
    """Train a config and score it on the test split."""

    config_file: tyro.conf.Positional[Path]
    """A file that defines `config`, for example configs/vlm_film.py."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    preset: Preset = "full"
    """full: the config as it is; cpu: its reduced recipe; auto: reduced where there is no accelerator."""
    resume: str | None = None
    """auto: continue the newest interrupted run of this config; or a run's folder."""
    out: Path | None = None
    """Folder of the run; default runs/NAME-DATE-TIME."""


@dataclass(frozen=True)
class Eval:
    """Score a run's best checkpoint on a split."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    split: Literal["train", "val", "test"] = "test"
    """Which images."""
    data: str | None = None
    """Another data set than the run's own."""
    embeddings: str | None = None
    """Another embedding store than the run's own."""


@dataclass(frozen=True)
class Predict:
    """Segment new images with a run."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files."""
    run: Path
    """The run's folder."""
    out: Path
    """Where masks, probabilities and overlays are written."""
    embeddings: str | None = None
    """A store that holds the images' embeddings; default: the run's own, or image-stats."""


@dataclass(frozen=True)
class Params:
    """Count a config's parameters."""

    config_file: tyro.conf.Positional[Path]
    """For example configs/vlm_film.py."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    json: bool = False
    """Totals as JSON instead of a table."""


@dataclass(frozen=True)
class Embed:
    """Make an embedding store of a data set."""

    data: tyro.conf.Positional[Path]
    """A data set (train, val, test), or a folder of images."""
    out: Path
    """The store's file."""
    encoder: Literal["image-stats"] = "image-stats"
    """What makes the vectors."""


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


def _parse(cls: type[T], args: list[str], command: str, **kwargs: Any) -> T:
    """tyro, with its error boxes turned into a UserError of one line."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(cls, args=args, prog=f"flowseg {command}", description=cls.__doc__, **kwargs)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        reason = _one_line(errors.getvalue()).replace("Unrecognized options:", "unknown config field or option:")
        raise UserError(f"{reason} (see flowseg {command} --help)") from None


def _value_of(args: list[str], flag: str, default: str) -> str:
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{flag}="):
            return arg.split("=", 1)[1]
    return default


def _with_config(cls: type[T], args: list[str], command: str, adapt: Callable[[Config], Config]) -> T:
    """Parses a command whose first argument is a config file, with the config's fields as options."""
    files = [arg for arg in args if arg.endswith(".py")]
    base = adapt(load_config(Path(files[0]))) if files else Config()
    default = cls(config_file=tyro.MISSING, config=base)  # type: ignore[call-arg]
    return _parse(cls, args, command, default=default)


def train(args: list[str]) -> None:
    """flowseg train"""
    from flowseg import presets
    from flowseg.experiment import run_experiment
    from flowseg.progress import console

    wanted = _value_of(args, "--preset", "full")
    reduce = wanted in ("cpu", "auto") and (wanted == "cpu" or not presets.has_accelerator())

    def adapt(config: Config) -> Config:
        root = _value_of(args, "--data.root", config.data.root or "")
        return presets.cpu_preset(config, demonstration=not root) if reduce else config

    parsed = _with_config(Train, args, "train", adapt)
    if reduce:
        console.rule("REDUCED RECIPE")
        console.print(presets.banner(load_config(parsed.config_file), parsed.config, wanted))
        console.rule()
    run_experiment(parsed.config, resume=parsed.resume, out=parsed.out)


def evaluate(args: list[str]) -> None:
    """flowseg eval"""
    from flowseg.experiment import evaluate_run
    from flowseg.runs import open_run

    parsed = _parse(Eval, args, "eval")
    evaluate_run(open_run(parsed.run), parsed.split, data=parsed.data, embeddings=parsed.embeddings)


def predict(args: list[str]) -> None:
    """flowseg predict"""
    from flowseg.inference import predict_images
    from flowseg.runs import open_run

    parsed = _parse(Predict, args, "predict")
    if not parsed.images:
        raise UserError("flowseg predict: no images given; name one or more image files")
    predict_images(open_run(parsed.run), parsed.images, parsed.out, embeddings=parsed.embeddings)


def params(args: list[str]) -> None:
    """flowseg params"""
    from clu import parameter_overview

    from flowseg.models.network import abstract_params, parameter_counts

    parsed = _with_config(Params, args, "params", lambda config: config)
    tree = abstract_params(parsed.config)
    counts = parameter_counts(tree)
    if parsed.json:
        print(json.dumps(counts))
    else:
        print(parameter_overview.get_parameter_overview(tree, include_stats=False))
        print("  ".join(f"{name}: {value:,}" for name, value in counts.items()))


def embed(args: list[str]) -> None:
    """flowseg embed"""
    from flowseg.data.folders import SPLITS, find_pairs, list_images
    from flowseg.embeddings.source import IMAGE_STATS, describe_images
    from flowseg.embeddings.store import write_store
    from flowseg.progress import console, task

    parsed = _parse(Embed, args, "embed")
    if not parsed.data.is_dir():
        raise UserError(f"{parsed.data}: no such folder; give a data set or a folder of images")
    splits = [split for split in SPLITS if (parsed.data / split).is_dir()]
    if splits:
        files = {pair.key: pair.image for split in splits for pair in find_pairs(parsed.data, split)}
    else:
        files = list_images(parsed.data)
    if not files:
        raise UserError(f"{parsed.data}: holds no images; give a data set or a folder of images")
    with task(parsed.encoder, len(files)) as advance:
        hashes, vectors = describe_images(list(files.values()), advance)
    write_store(parsed.out, IMAGE_STATS, list(files), hashes, vectors)
    console.print(f"{len(files)} vectors of {IMAGE_STATS}: {parsed.out}")


def import_torch(args: list[str]) -> None:
    """flowseg import-torch"""
    from flowseg.interop.checkpoint_files import import_run
    from flowseg.progress import console

    parsed = _parse(ImportTorch, args, "import-torch")
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
    "eval": (evaluate, Eval),
    "predict": (predict, Predict),
    "params": (params, Params),
    "embed": (embed, Embed),
    "import-torch": (import_torch, ImportTorch),
}


def _usage() -> str:
    lines = ["usage: flowseg COMMAND ...   (flowseg COMMAND --help tells its options)", ""]
    return "\n".join(lines + [f"  {name:14}{cls.__doc__}" for name, (_, cls) in COMMANDS.items()])


def set_up_jax() -> None:
    """Compiled programs are kept between starts, under the cache folder unless JAX's own variable names one."""
    from flowseg.data.phantom import phantom_root

    # Tracing the network makes millions of objects that stay: searching them for garbage takes a tenth of a start.
    gc.set_threshold(100_000, 50, 1000)

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(phantom_root().parent / "xla"))
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
    if arguments[0] not in COMMANDS:
        print(f"flowseg: unknown command {arguments[0]}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    set_up_jax()
    from flowseg.training.interrupt import Interrupted

    try:
        COMMANDS[arguments[0]][0](arguments[1:])
    except UserError as error:
        print(f"flowseg: {error}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as stopped:
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        print("flowseg: stopped", file=sys.stderr)
        sys.exit(130)
