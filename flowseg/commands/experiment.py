"""`flowseg experiment`: several configs over several seeds, trained, scored and compared by one command."""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowseg.commands.parsing import parse_known
from flowseg.commands.train import Preset, configured
from flowseg.config import Config
from flowseg.errors import UserError


@dataclass(frozen=True)
class Experiment:
    """Train, score and compare several configs over several seeds. More options go to every training."""

    configs: tuple[Path, ...]
    """Files that define a config, for example configs/baseline.py configs/vlm_film.py."""
    out: Path
    """Folder of the runs, OUT/NAME/seed-N, and of the report, OUT/report. Finished runs in it are kept."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each config is trained once with each."""
    preset: Preset = "full"
    """As of flowseg train."""
    data: str | None = None
    """The data set."""
    embeddings: str | None = None
    """The embedding store, for the configs with FiLM."""
    lang: Literal["en", "ko"] = "en"
    """Language of the report."""


@dataclass(frozen=True)
class Planned:
    """A run to be: its config, its folder, and the arguments of the `flowseg train` that makes it."""

    config: Config
    folder: Path
    arguments: list[str]

    @property
    def finished(self) -> bool:
        """Whether it is there already.

        Raises:
            UserError: another config's run is there.
        """
        from flowseg.runs.folder import is_run, open_to_resume

        return is_run(self.folder) and open_to_resume(self.folder, self.config).finished


def plan(asked: Experiment, more: list[str]) -> list[Planned]:
    """All runs, seed by seed, so that the first seeds of all configs can be compared early.

    Raises:
        UserError: a config or option that `flowseg train` would refuse, two configs of one name, a seed given twice,
            or a folder with another config's run.
    """
    planned: list[Planned] = []
    files: dict[str, Path] = {}
    for seed in asked.seeds:
        for file in asked.configs:
            arguments = [str(file), "--preset", asked.preset, "--seed", str(seed), *more]
            if asked.data is not None:
                arguments += ["--data.root", asked.data]
            config = configured(arguments)[0].config
            if asked.embeddings is not None and config.model.film.stages:
                arguments += ["--embeddings.store", asked.embeddings]
                config = configured(arguments)[0].config
            if files.setdefault(config.name, file) != file:
                raise UserError(f"{file}: names its config {config.name}, as {files[config.name]} does; rename one")
            folder = asked.out / config.name / f"seed-{seed}"
            planned.append(Planned(config, folder, [*arguments, "--out", str(folder), "--resume", "auto"]))
    if len({run.folder for run in planned}) < len(planned):
        raise UserError(f"--seeds {' '.join(map(str, asked.seeds))}: a seed or a config is given twice; give it once")
    return planned


def _train(arguments: list[str]) -> None:
    """`flowseg train` as a process of its own: each starts with nothing of the one before in memory."""
    from flowseg.training.interrupt import Interrupted

    # In a session of its own a Ctrl-C reaches it once, through us: a second would stop it without saving.
    child = subprocess.Popen([sys.executable, "-m", "flowseg", "train", *arguments], start_new_session=True)
    stopped: list[int] = []

    def pass_on(signum: int, frame: object) -> None:
        stopped.append(signum)
        child.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)

    previous = {s: signal.signal(s, pass_on) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        status = child.wait()
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    if stopped:
        raise Interrupted(stopped[0])
    if status:
        raise UserError(
            f"flowseg train {' '.join(arguments)}: ended with status {status}; see above, then start again"
        )


def experiment(args: list[str]) -> None:
    """flowseg experiment"""
    from flowseg.commands.compare import compare
    from flowseg.progress import console, duration

    asked, more = parse_known(Experiment, args, "experiment")
    if not asked.configs or not asked.seeds:
        raise UserError("flowseg experiment: no configs or no seeds given; name one or more of each")
    planned = plan(asked, more)
    waiting = [run for run in planned if not run.finished]
    console.print(f"{len(planned)} runs in {asked.out}, {len(planned) - len(waiting)} of them finished")
    started = time.monotonic()
    for count, run in enumerate(waiting):
        spent = (time.monotonic() - started) / count if count else 0.0
        left = f", about {duration(spent * (len(waiting) - count))} left" if count else ""
        console.rule(f"run {count + 1} of {len(waiting)}: {run.config.name}, seed {run.config.seed}{left}")
        _train(run.arguments)
    groups = dict.fromkeys(str(run.folder.parent) for run in planned)
    compare([*groups, "--out", str(asked.out / "report"), "--lang", asked.lang])
