"""`flowseg experiment`: trains, scores and compares several configs over several seeds, or cross-validates them."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from flowseg.bounds import Bound, Seed
from flowseg.commands.on_cluster import OnCluster, check_cluster_options
from flowseg.commands.parsing import default_is, find_config, load_config, parse_known, value_of, with_value
from flowseg.commands.train import Preset, Train, configured
from flowseg.config import Config
from flowseg.config_values import differences
from flowseg.data.folds import all_folds
from flowseg.errors import UserError
from flowseg.phantoms.default import root_of

REPORT = "report"
"""The folder of the report in OUT."""

_HERE = "flowseg experiment sets it for every training"
_ALONE = "the trainings of flowseg experiment run on one host; use flowseg train for one on several"
_REFUSED = {
    "--seed": f"{_HERE}; give --seeds",
    "--resume": f"{_HERE}; the same command continues an interrupted experiment",
    "--data.root": f"{_HERE}; give --data",
    "--data.fold": f"{_HERE}; give --folds",
    "--embeddings.store": f"{_HERE}; give --embeddings",
    **dict.fromkeys(("--coordinator", "--processes", "--process-id", "--peer-timeout"), _ALONE),
}
"""Options of flowseg train that an experiment does not pass on, and why."""


@dataclass(frozen=True)
class Experiment(OnCluster):
    """Train, score and compare several configs over several seeds. Other options are passed to every training."""

    configs: tuple[Path, ...]
    """Configs that come with flowseg, or Python files that define one, which are executed; for example: baseline
    vlm_film my_config.py."""
    out: Path
    """Folder of the runs (OUT/NAME/seed-N, with folds OUT/NAME/seed-N-fold-K) and of the report (OUT/report). Finished
    runs are not trained again."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Each config is trained once with each seed."""
    folds: Annotated[int, Bound(lambda n: 2 <= n <= 999, "must lie between 2 and 999")] | None = None
    """Cross-validation with this number of folds. The images for training and validation are divided into so many
    parts; for each seed, each config is trained once without each part and scored on that part. The report is on these
    images, and on the test images."""
    preset: Preset = "auto"
    """The preset of flowseg train."""
    data: Annotated[str | None, default_is("the configs' own, or the phantoms")] = None
    """The data set."""
    embeddings: Annotated[str | None, default_is("the configs' own, or image-stats")] = None
    """The embedding store for the configs with FiLM."""
    lang: Literal["en", "ko"] = "en"
    """Language of the report."""


@dataclass(frozen=True)
class Planned:
    """A planned run: its config, its folder, and the arguments of `flowseg train` that make it."""

    config: Config
    folder: Path
    arguments: list[str]

    @property
    def finished(self) -> bool:
        """Whether the run exists and is finished; a run of another config there is a UserError."""
        from flowseg.runs.folder import is_run, open_to_resume

        return is_run(self.folder) and open_to_resume(self.folder, self.config).finished


@dataclass(frozen=True)
class Job:
    """A command that the experiment runs in a process of its own."""

    title: str
    command: str
    arguments: list[str]
    training: Planned | None = None
    """The run that it trains, if it does."""


def plan(asked: Experiment, more: list[str], precision: str | None = None) -> list[Planned]:
    """Returns all runs in order, seed by seed and fold by fold, so that all configs can be compared early.

    `precision` is that of configs that leave it to the machine; None: what this machine has.

    Raises:
        UserError: a config or option that `flowseg train` would refuse, two configs of one name, one with the name of
            the report's folder, a seed or config given twice, a single run, which cannot be compared, or folds of
            different data sets.
    """
    given = {arg.split("=", 1)[0] for arg in more}
    for option, why in _REFUSED.items():
        if option in given:
            raise UserError(f"{option}: {why}")
    configs = [find_config(str(file)) for file in asked.configs]
    planned: list[Planned] = []
    files: dict[str, Path] = {}
    folds: Sequence[str | None] = [None] if asked.folds is None else all_folds(asked.folds)
    for seed, fold in product(asked.seeds, folds):
        for file in configs:
            arguments = [str(file), "--preset", asked.preset, "--seed", str(seed), *more]
            if precision is not None and _leaves_precision(file, more):
                arguments = with_value(arguments, "--precision", precision)
            if fold is not None:
                arguments += ["--data.fold", fold]
            if asked.data is not None:
                arguments += ["--data.root", asked.data]
            config = configured(Train, arguments, "train")[0].config
            if asked.embeddings is not None and config.model.film.stages:
                arguments += ["--embeddings.store", asked.embeddings]
                config = configured(Train, arguments, "train")[0].config
            if (other := files.setdefault(config.name, file)) != file:
                raise UserError(f"{file}: its config has the name {config.name}, like that of {other}; rename one")
            if config.name == REPORT:
                raise UserError(f"{file}: its config has the name {REPORT}, like the folder of the report; rename it")
            part = "" if fold is None else f"-fold-{fold.split('/')[0]}"
            folder = asked.out / config.name / f"seed-{seed}{part}"
            planned.append(Planned(config, folder, [*arguments, "--out", str(folder), "--resume", "auto"]))
    if len({run.folder for run in planned}) < len(planned):
        raise UserError(f"--seeds {' '.join(map(str, asked.seeds))}: a seed or a config is given twice; give it once")
    if asked.folds is not None:
        roots = {root_of(run.config.data).resolve(): run.config for run in planned}
        if len(roots) > 1:
            of = ", ".join(f"{config.name} has {root}" for root, config in roots.items())
            raise UserError(f"--folds: the configs have different data sets ({of}); give one with --data")
    if len(planned) < 2:
        raise UserError(
            "flowseg experiment: one config with one seed is a single run, with nothing to compare it with; add a "
            "config or a seed, or use flowseg train"
        )
    return planned


def _leaves_precision(config: Path, more: list[str]) -> bool:
    """Returns whether a config with more options leaves its precision to the machine that trains it."""
    return value_of(more, "--precision", load_config(config).precision) == "auto"


def _check_others(planned: Sequence[Planned]) -> None:
    """Raises a UserError if the folders of the planned runs hold others that cannot be in one report with them.

    With folds, all runs in a folder are one model: they have one config, and every seed has all folds.
    """
    from flowseg.reports.folds import check_complete
    from flowseg.runs.ensemble import set_up
    from flowseg.runs.folder import is_run, open_run

    folds = planned[0].config.data.fold is not None
    for folder in dict.fromkeys(run.folder.parent for run in planned):
        configs = {run.folder.name: run.config for run in planned if run.folder.parent == folder}
        ours = set_up(next(iter(configs.values())))
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name in configs or not is_run(path):
                continue
            other = open_run(path)
            differing = differences(ours, set_up(other.config))
            wrong = next((one for one in differing if folds or one.startswith("data.fold:")), None)
            if wrong is None and folds and not other.finished:
                wrong = "it is not finished"
            if wrong is not None:
                raise UserError(
                    f"{path}: cannot be in one report with the runs of this experiment ({wrong}); remove it, or give "
                    "another --out"
                )
            configs[path.name] = other.config
        if folds:
            check_complete(folder, list(configs.values()))


def _run(command: str, arguments: list[str]) -> None:
    """Runs a command of flowseg in a new process, so that nothing of the one before stays in memory.

    If this process is killed, a training saves its state and ends too (`stop_at_eof`).

    Raises:
        Interrupted: this process was asked to stop; a training has saved its state and ended.
        UserError: the command failed.
    """
    from flowseg.progress import console
    from flowseg.training.interrupt import Interrupted, answering, handled_by, start_child

    child = start_child([command, *arguments])
    stopped: list[int] = []

    def pass_on(signum: int, frame: object) -> None:
        stopped.append(signum)
        child.send_signal(signal.SIGTERM if signum == signal.SIGHUP else signum)

    with handled_by(pass_on, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)), answering(None):  # the child answers
        status = child.wait()
    if stopped:
        raise Interrupted(stopped[0])
    if status:
        what = f"flowseg {command} {' '.join(arguments)}: ended with status {status}"
        if status < 0:
            raise UserError(f"{what}; start again to continue")
        console.print(f"{what}; the same experiment continues there")
        raise SystemExit(status)  # it has said why


def experiment(args: list[str]) -> None:
    from flowseg.reports.compare.summary import FORMAT
    from flowseg.reports.folder import check_free

    asked, more = parse_known(Experiment, args, "experiment")
    if not asked.configs or not asked.seeds:
        raise UserError("flowseg experiment: no configs or no seeds given; give at least one of each")
    check_cluster_options(asked)
    planned = plan(asked, more) if asked.cluster is None else []
    if asked.out.exists() and not asked.out.is_dir():
        raise UserError(f"{asked.out}: is a file; give --out a folder")
    # Before hours of training, not after them.
    if asked.folds is None:
        check_free(asked.out / REPORT, FORMAT, "flowseg compare")
    else:
        from flowseg.reports.folds import COMMAND, FOLDS_FORMAT

        check_free(asked.out / REPORT, FOLDS_FORMAT, COMMAND)
    if asked.cluster is None:
        _run_all(asked, planned, _run_in_turn)
        return
    from flowseg.commands.experiment_on_cluster import opened

    with opened(asked) as cluster:
        settled = replace(asked, preset=cluster.preset(asked.preset))
        leaves = any(_leaves_precision(find_config(str(file)), more) for file in asked.configs)
        _run_all(asked, plan(settled, more, cluster.precision() if leaves else None), cluster.run)


def _run_all(asked: Experiment, planned: list[Planned], run_jobs: Callable[[list[Job]], None]) -> None:
    """Trains what is not finished, scores folds together, and writes the report; `run_jobs` runs several commands."""
    from flowseg.commands.compare import compare
    from flowseg.progress import console
    from flowseg.reports.folds import report_folds
    from flowseg.runs.ensemble import scored_together

    _check_others(planned)
    waiting = [run for run in planned if not run.finished]
    console.print(f"{len(planned)} runs in {asked.out}, {len(planned) - len(waiting)} of them finished")
    run_jobs([Job(_title(run), "train", [*run.arguments, "--processes", "1"], run) for run in waiting])
    groups = dict.fromkeys(run.folder.parent for run in planned)
    if asked.folds is None:
        compare([*map(str, groups), "--out", str(asked.out / REPORT), "--lang", asked.lang])
        return
    apart = [folder for folder in groups if not scored_together(folder)]
    run_jobs([Job(f"{folder.name}: all folds together", "eval", [str(folder)]) for folder in apart])
    report_folds(list(groups), asked.out / REPORT, asked.lang)


def _title(run: Planned) -> str:
    fold = f", fold {run.config.data.fold}" if run.config.data.fold is not None else ""
    return f"{run.config.name}, seed {run.config.seed}{fold}"


def _run_in_turn(jobs: list[Job]) -> None:
    """Runs commands one after the other, each with all of this machine."""
    from flowseg.progress import console, duration

    started = time.monotonic()
    for count, job in enumerate(jobs):
        spent = (time.monotonic() - started) / count if count else 0.0
        left = f", about {duration(spent * (len(jobs) - count))} left" if count else ""
        console.rule(f"run {count + 1} of {len(jobs)}: {job.title}{left}" if job.training else job.title)
        _run(job.command, job.arguments)
