"""Run folders: where they are, what identifies them, which one to continue."""

import errno
import json
import os
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flowseg import __version__
from flowseg.config import Config
from flowseg.config_values import differences, saved_config, to_json
from flowseg.embeddings.store import Encoder
from flowseg.errors import UserError
from flowseg.files import is_text, naming, parse_json, sweep, take, write_text
from flowseg.runs.exported import Exported
from flowseg.runs.names import local_folder, pretrained, tell_if_hidden

CONFIG_FILE = "config.json"
DONE_FILE = "done.json"
RUNS = Path("runs")
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
"""What the file system says of a file that is not there; the last one if another host has removed it."""


@dataclass(frozen=True)
class OtherNetwork:
    """A network that is not flowseg's, in the run of another program; `flowseg compare` reads such a run."""

    name: str
    parameters: int
    settings: dict[str, Any]
    """How it was made and trained, where the config has no field for it."""


@dataclass(frozen=True)
class Run:
    """A run's folder, or an exported model's, and what was written into it when it was made."""

    path: Path
    config: Config
    encoder: Encoder | None
    """What made the embeddings that it was trained on; None without FiLM, or where it is not known."""
    network: OtherNetwork | None = None
    """What another program trained in place of flowseg's network; None for flowseg's own. Of the config, only the
    name, the seed, the data, the optimiser and the batch then count."""
    exported: Exported | None = None
    """What the weights of an exported model are; None for a run. Nothing is written into an exported model."""

    @property
    def finished(self) -> bool:
        return self.exported is not None or (self.path / DONE_FILE).exists()

    @property
    def results(self) -> Path:
        """The folder that results go into unless another is asked for: the run's own.

        Raises:
            UserError: an exported model.
        """
        if self.exported is not None:
            raise UserError(f"{self.path}: is an exported model, which is not written to; give a folder with --out")
        return self.path


def check_place(path: Path, *, write: bool = True) -> None:
    """Raises a UserError if Orbax cannot write, or only read, checkpoints below a path.

    Orbax takes the whole path for a pattern when it writes: it would find nothing, or the files of another run.
    TensorStore does not take a backslash, nor anything but UTF-8.
    """
    text = str(path.absolute())
    bad = [sign for sign in ("*?[]\\" if write else "\\") if sign in text]
    if bad or not is_text(text):
        what = f"a path with {bad[0]}" if bad else "a path that is not UTF-8"
        how = "written" if write else "read"
        raise UserError(f"{path.absolute()}: checkpoints cannot be {how} below {what}; choose or make another folder")


def create_run(path: Path, config: Config, encoder: Encoder | None, network: OtherNetwork | None = None) -> Run:
    """A new run's folder with its config in it."""
    check_place(path)
    try:
        if path.exists():
            sweep(path)  # what a process that was killed here has left
            if any(path.iterdir()):
                raise UserError(f"{path}: is not empty; choose another --out, or continue it with --resume {path}")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}); choose another --out") from None
    content = described(config, encoder)
    if network is not None:
        content["network"] = asdict(network)
    write_text(path / CONFIG_FILE, json.dumps(content, indent=2) + "\n")
    return Run(path, config, encoder, network)


def described(config: Config, encoder: Encoder | None) -> dict[str, Any]:
    """Returns what the config.json of every run and exported model holds."""
    content: dict[str, Any] = {"flowseg": __version__, "config": json.loads(to_json(config))}
    if encoder is not None:
        content["encoder"] = {"name": encoder.name, "settings": encoder.settings, "width": encoder.width}
    return content


def open_run(path: Path) -> Run:
    """A run by its folder, or an exported model by its folder or its name (flowseg.runs.names).

    A run in the folder of that name comes before the model that has the name.
    """
    if is_run(path):
        tell_if_hidden(path)
    else:
        path = local_folder(path)
    file = path / CONFIG_FILE
    if not file.is_file():
        remedy = (
            f"give a folder that `flowseg train` made, or a model that comes with flowseg: {', '.join(pretrained())}"
        )
        raise UserError(f"{path}: no run there (no {CONFIG_FILE}); {remedy}")
    try:
        content = parse_json(file.read_text())
        values, encoder, network = content["config"], content.get("encoder"), content.get("network")
        made = Encoder(encoder["name"], encoder["settings"], encoder["width"]) if encoder else None
        other = OtherNetwork(network["name"], network["parameters"], network["settings"]) if network else None
        exported = Exported.of_description(content) if "exported" in content else None
        config = saved_config(values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: is not a run's config ({type(error).__name__}: {error}); restore or remove it"
        ) from None
    return Run(path, config, made, other, exported)


def is_run(path: Path) -> bool:
    """Whether a folder looks like a run's."""
    return (path / CONFIG_FILE).is_file()


def new_path(config: Config) -> Path:
    """A fresh folder name: runs/NAME-DATE-TIME."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = RUNS / f"{config.name}-{stamp}"
    count = 2
    while path.exists():
        path = RUNS / f"{config.name}-{stamp}-{count}"
        count += 1
    return path


def find_interrupted(config: Config) -> Run | None:
    """The newest unfinished run of this very config, if there is one."""
    candidates = []
    for path in RUNS.iterdir() if RUNS.is_dir() else ():
        if not path.name.startswith(f"{config.name}-"):
            continue
        try:
            run = open_run(path)
        except UserError:
            continue  # of an older version, or broken: not a run of this config
        if not run.finished and run.config == config:
            candidates.append(((path / CONFIG_FILE).stat().st_mtime, run))
    return max(candidates, key=lambda c: c[0])[1] if candidates else None


def open_to_resume(path: Path, config: Config) -> Run:
    """A run to continue with the given config, which must be its own."""
    run = open_run(path)
    if run.exported is not None:
        raise UserError(f"{path}: is an exported model without a training state; resume the run that it came from")
    differing = differences(run.config, config)
    if differing:
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise UserError(
            f"{path}: was started with another config: {differing[0]}{more}; resume it with its own, or start anew"
        )
    return run


class Lock(AbstractContextManager["Lock"]):
    """Keeps other processes from writing into a run's folder until the block ends.

    Raises:
        UserError: another process is writing there.
    """

    def __init__(self, run: Run):
        self._run, self._path = run, run.path / ".lock"
        self._handle = self._path.open("w")
        try:
            with naming(self._path):
                take(self._handle)
        except BlockingIOError:
            self._handle.close()
            raise UserError(f"{run.path}: another process is writing this run; wait for it or stop it") from None

    def check(self) -> None:
        """Raises a UserError if the folder has been removed or replaced: what is written would be no run.

        Raises:
            OSError: it cannot be seen whether it has.
        """
        try:
            (self._run.path / CONFIG_FILE).stat()
            if os.path.samestat(os.fstat(self._handle.fileno()), self._path.stat()):
                return
        except OSError as error:
            if error.errno not in _GONE:
                raise
        raise UserError(f"{self._run.path}: was removed or replaced while it was in use; start the run again")

    def __exit__(self, *error: object) -> None:
        self._handle.close()
