"""From a config to a trained network and its scores: the story of one experiment."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import jax

from flowseg import hosts, software
from flowseg.config import Config, TrackerName
from flowseg.config_values import flat
from flowseg.data.folds import FOLD
from flowseg.data.pipeline import total_steps
from flowseg.embeddings.store import Encoder
from flowseg.evaluation.evaluate import evaluate_run
from flowseg.files import write_text
from flowseg.models.network import abstract_params, parameter_counts
from flowseg.progress import console, warn
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import (
    DONE_FILE,
    Lock,
    Run,
    create_run,
    find_interrupted,
    is_run,
    new_path,
    open_run,
    open_to_resume,
)
from flowseg.runs.prepare import Prepared, check_encoder, prepare
from flowseg.runs.provenance import recorded
from flowseg.runs.trackers import Tracking, check_installed
from flowseg.runs.trained import Trained
from flowseg.sampling.windows import check_sampling
from flowseg.training.drivers import chosen_devices, with_precision
from flowseg.training.interrupt import end_joint_stops
from flowseg.training.loop import train
from flowseg.training.memory import check_fits


def run_experiment(
    config: Config,
    *,
    resume: str | None = None,
    out: Path | None = None,
    profile: bool = False,
    track: Sequence[TrackerName] = (),
) -> Run:
    """Trains, then scores the best checkpoint on the test split, and on its fold if it is one: all of `make train`.

    `resume` and `out` are as for `choose_run`, `profile` is as for `train`; `track` names the trackers that show the
    measurements and scores, besides TensorBoard.
    """
    check_installed(track)
    config = with_precision(config)
    _agree_on(config)
    # What does not fit the devices, memory or counters is refused before anything is written.
    devices = chosen_devices(config)
    check_fits(config, devices)
    check_sampling(config, hosts.own_devices(devices)[:1])
    prepared = prepare(config)
    total_steps(config, len(prepared.datasets["train"]))
    digests = {split: dataset.whole_digest() for split, dataset in prepared.datasets.items()}
    hosts.agree("data", digests, "give every host the same images, labels, fields of view and embeddings")
    run = _choose_together(config, prepared.encoder, resume, out)
    with _kept_by_first(run, devices) as check_folder, Tracking(run, track) as tracking:
        counts = parameter_counts(abstract_params(config))
        sizes = ", ".join(f"{len(d)} {split}" for split, d in prepared.datasets.items())
        console.print(f"run {run.path}: {counts['total']:,} parameters; {prepared.root} ({sizes})")
        if hosts.from_first(_must_train(run)):
            trackers = tracking.open
            record = train(run, prepared.datasets, check_folder=check_folder, profile=profile, open_trackers=trackers)
            console.print(f"best validation Dice {record.best_dice:.4f} at step {record.best_step}")
        end_joint_stops()
        check_encoder(run, prepared.encoder)
        check_folder()
        _score(run, prepared, check_folder, tracking)
    console.print(f"score it again with: flowseg eval {run.path}   (make eval RUN={run.path})")
    return run


def _agree_on(config: Config) -> None:
    """Raises a UserError if the processes of a training differ in their config, software or devices."""
    if hosts.count() == 1:
        return
    hosts.agree("configs", flat(config), "start all processes with the same command")
    hosts.agree("software", software.facts(), "install the same on every host")
    own = jax.local_devices()
    hosts.agree("devices", {"kind": own[0].device_kind, "number": len(own)}, "use hosts of one kind")


def _choose_together(config: Config, encoder: Encoder | None, resume: str | None, out: Path | None) -> Run:
    """Returns the run's folder, as `choose_run` does on process 0; all processes must see it."""
    if hosts.count() == 1:
        return choose_run(config, encoder, resume, out)
    chosen = str(choose_run(config, encoder, resume, out).path.absolute()) if hosts.is_first() else None
    path = Path(hosts.from_first(chosen))
    hosts.check_shared(path)
    return open_run(path)


@contextmanager
def _kept_by_first(run: Run, devices: list[jax.Device]) -> Iterator[Callable[[], None]]:
    """Keeps other trainings out of a run and records this start of it; of several processes, the first one does.

    Yields what checks that the folder is still the run's (`Lock.check`).
    """
    if not hosts.is_first():
        yield lambda: None
        return
    used = f"{len(devices)} x {devices[0].device_kind}"
    used += f" in {hosts.count()} processes" if hosts.count() > 1 else ""
    with Lock(run) as lock, recorded(run.path, used):
        yield lock.check


def _score(run: Run, prepared: Prepared, check_folder: Callable[[], None], tracking: Tracking) -> None:
    """Scores a trained run on the test split and, with cross-validation, on its fold; the run is then finished."""
    hosts.gather(None)  # process 0 has written the best checkpoint
    trained = Trained.open(run, prepared=prepared)
    means: dict[str, dict[str, float | None]] = {}
    for split in ("test", *((FOLD,) if run.config.data.fold is not None else ())):
        found = evaluate_run(trained, split, prepared)["model"]
        means[split] = {name: interval["mean"] for name, interval in found.items()}
        tracking.show_scores(split, means[split])
        check_folder()
    if hosts.is_first():
        write_text(run.path / DONE_FILE, json.dumps({"test_dice": means["test"]["dice"]}) + "\n")


def _must_train(run: Run) -> bool:
    """Returns whether a run is not finished, or its best checkpoint cannot be read, but training can find another.

    Damage to a `latest` checkpoint of another run is reported: that run does not need it.
    """
    if not run.finished:
        return True
    with closing(Checkpoints(run.path, read_only=True)) as checkpoints:
        steps = checkpoints.steps("latest")
        if steps and checkpoints.best_problem() is not None:
            return True
        for problem in filter(None, (checkpoints.problem("latest", step) for step in steps)):
            warn(f"{problem}; the run is finished and does not need it, unless its best checkpoint is lost as well")
    return False


def choose_run(config: Config, encoder: Encoder | None, resume: str | None, out: Path | None) -> Run:
    """Returns the run's folder: a new one, or an interrupted one to continue.

    Args:
        resume: None, `auto` for the run in `out` or else the newest unfinished run of this config, or a run's folder.
        out: the folder of a new run; None: runs/NAME-DATE-TIME.
    """
    if resume is None:
        return create_run(out or new_path(config), config, encoder)
    if resume != "auto":
        return open_to_resume(Path(resume), config)
    if out is not None:
        return open_to_resume(out, config) if is_run(out) else create_run(out, config, encoder)
    found = find_interrupted(config)
    if found is None:
        console.print("nothing to resume: no interrupted run of this config under runs/; starting a new one")
    return found or create_run(new_path(config), config, encoder)
