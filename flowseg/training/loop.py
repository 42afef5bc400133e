"""One training run, from data and config to a trained network on disk."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace

import jax
import numpy as np

from flowseg import hosts
from flowseg.data.dataset import Dataset
from flowseg.data.pipeline import half_size_steps, iterate, steps_per_epoch, total_steps, training_batches
from flowseg.errors import UserError
from flowseg.models.network import Params, abstract_params, init_params
from flowseg.models.vector import Layout
from flowseg.progress import Task, console, duration, warn
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import Run
from flowseg.runs.log import Log, NoLog
from flowseg.runs.trackers import Guarded
from flowseg.training.drivers import make_driver
from flowseg.training.interrupt import Interrupted, StopRequest, stop_on_signals
from flowseg.training.memory import memory_told
from flowseg.training.meter import Meter
from flowseg.training.optim import plateau
from flowseg.training.profile import StepTrace
from flowseg.training.state import TrainState, init_state
from flowseg.training.validation import Validation


@dataclass
class Record:
    """What the loop keeps besides the training state; saved with every checkpoint."""

    data: str
    """Digest of the training images, their fields of view and their embeddings."""
    labels: str | None = None
    """Digest of the training labels; None in checkpoints of earlier versions, as is the next."""
    validation: str | None = None
    """Digest of the validation split with its labels."""
    validated: int = -1
    """Step of the last validation."""
    best_dice: float = -1.0
    best_step: int = -1
    window: list[dict[str, float]] = field(default_factory=list)
    """Metrics of the steps since the last line of metrics.jsonl."""


def train(
    run: Run,
    datasets: dict[str, Dataset],
    *,
    check_folder: Callable[[], None] = lambda: None,
    profile: bool = False,
    open_trackers: Callable[[], Sequence[Guarded]] = tuple,
) -> Record:
    """Trains to the config's last epoch, from the run's latest checkpoint if it has one.

    Args:
        run: where everything is written.
        datasets: the loaded splits `train` and `val`.
        check_folder: called before each checkpoint; raises if the run's folder is not what it was.
        profile: a trace of a few steps is written into the run's folder `profile`.
        open_trackers: opens and returns the trackers that show the measurements, besides TensorBoard.

    Raises:
        UserError: the data have changed since the run began, a checkpoint is damaged, or the loss was not finite for
            `train.max_bad_steps` steps in a row.
        Interrupted: stopped by a signal; everything is saved.
    """
    when = "after the present step or batch of windows, with the state saved (a compilation is finished first)"
    with stop_on_signals(when) as stop:
        with closing(Checkpoints(run.path)) as checkpoints:
            training = Training(run, datasets, checkpoints, stop, check_folder, profile, open_trackers)
            record = training.run_to_end()
        try:
            stop.check_together()  # asked for while the last checkpoint was written
        except Interrupted as interrupted:
            training.tell(interrupted)
            raise
        return record


class Training:
    """The parts of one run: driver, data, validation, log, and where it stands."""

    def __init__(
        self,
        run: Run,
        datasets: dict[str, Dataset],
        checkpoints: Checkpoints,
        stop: StopRequest,
        check_folder: Callable[[], None] = lambda: None,
        profile: bool = False,
        open_trackers: Callable[[], Sequence[Guarded]] = tuple,
    ):
        config = self.config = run.config
        self.run, self.datasets, self.checkpoints, self.stop = run, datasets, checkpoints, stop
        self.check_folder = check_folder
        self.epoch_steps = steps_per_epoch(config, len(datasets["train"]))
        self.total = total_steps(config, len(datasets["train"]))
        self.half_size_steps = half_size_steps(config, len(datasets["train"]))
        self.layout = Layout(abstract_params(config))
        self._check_warmup()
        self.driver = make_driver(config, self.total)
        self.state, self.record, self.step = self._start()
        first = hosts.is_first()
        self.trace = StepTrace(run.path / "profile", self.step, self.total) if profile and first else None
        self.log: NoLog = NoLog()
        if first:
            self.log = Log(run.path, self.step, self.record.validated, open_trackers())
        self.meter = Meter(self.record.window, config, run.path)
        own, samples = hosts.own_devices(self.driver.devices), run.path / "samples"
        self.validation = Validation(config, datasets["val"], own, self.log, samples, stop.check)

    def _check_warmup(self) -> None:
        """Warns of a run that ends within its warm-up: the learning rate would then only rise."""
        optim, updates = self.config.optim, self.total // self.config.optim.accumulate
        if optim.schedule == "cosine" and updates <= optim.warmup_steps and hosts.is_first():
            warn(
                f"optim.warmup_steps = {optim.warmup_steps}: the run has {updates} updates, so its learning rate only "
                "rises; lower it, or train longer"
            )

    def run_to_end(self) -> Record:
        """Validates and saves where it is due, stops if asked to, takes a step; until the last epoch."""
        config = self.config
        rows = training_batches(config, self.datasets["train"], hosts.index(), hosts.count())
        batches = iterate(rows, self.step, self.total, config.data.threads)
        if self.step < self.total:
            console.print("compiling the training step, or loading what an earlier start has compiled")
        begun = self.step
        progress = Task("training", self.total, self.step, self._work)
        try:
            self._mend_best()
            while True:
                self._validate_or_save_if_due()
                self.stop.check_together()
                if self.step == self.total:
                    break
                if self.trace:
                    self.trace.before(self.step)
                new_size = self.step == self.half_size_steps
                if new_size and self.step > begun:
                    progress.restart()
                    console.print("crops have their whole size from now on: compiling the step for it, or loading it")
                started = time.monotonic()
                # Hidden copies between host and device would slow the step.
                with jax.transfer_guard("disallow"), memory_told(config, self.driver.devices):
                    self.state, metrics = self.driver(self.state, next(batches))
                    self.step += 1
                    self.meter.add(self.step, metrics)
                if self.step == begun + 1 or new_size:
                    console.print(f"the training step was ready after {duration(time.monotonic() - started)}")
                if self.step % config.train.log_every == 0:
                    self.log.write("train", self.step, self.step / self.epoch_steps, self.meter.line())
                self.meter.show(progress)
        except Interrupted as interrupted:
            self.meter.settle()
            self._save("latest")
            self.checkpoints.close()
            self.tell(interrupted)
            raise
        finally:
            if self.trace:
                self.trace.close()
            progress.close()
            self.log.close()
        sizes = 1 + (self.half_size_steps > 0)
        assert self.driver.traces <= sizes, f"the step was traced {self.driver.traces} times: shapes changed"
        traces = self.validation.sampler.traces
        assert traces <= 1, f"the sampler was traced {traces} times: shapes changed"
        return self.record

    def _work(self, start: int, stop: int) -> float:
        """Returns how much work the steps from `start` to `stop` are, in steps of whole crops."""
        halved = self.half_size_steps
        return stop - start - 0.75 * (min(stop, halved) - min(start, halved))

    def tell(self, interrupted: Interrupted) -> None:
        """Says where a training that was stopped has been saved, and how to continue it."""
        console.print(
            f"stopped by {interrupted} at step {self.step} of {self.total}, saved in {self.run.path}; "
            "continue with the same command and --resume auto (make: RESUME=auto)"
        )

    def _record(self) -> Record:
        """Returns the record of a fresh start."""
        train, val = self.datasets["train"], self.datasets["val"]
        return Record(train.digest(), train.label_digest(), val.whole_digest())

    def _start(self) -> tuple[TrainState, Record, int]:
        """Returns state, record and step of a fresh start, or of the latest checkpoint that can be read."""
        fresh = init_state(self.config, init_params(self.config), self.total)
        record = self._record()
        found = self.checkpoints.restore_latest(self.config, fresh)
        hosts.agree(
            "checkpoints",
            {"step": found[2] if found else "none"},
            f"see why the processes read {self.run.path} differently",
        )
        if found is None:
            if self.checkpoints.steps("best"):
                warn(f"{self.run.path}: has no latest checkpoint; the training begins again at step 0")
            self.checkpoints.forget_after("best", -1)
            return self.driver.place_state(fresh), record, 0
        state, kept, step = found
        for name, what in (
            ("data", "training images, fields of view or embeddings"),
            ("labels", "training labels"),
            ("validation", "validation images, labels or embeddings"),
        ):
            before, now = kept.get(name), getattr(record, name)
            if before is None:
                kept[name] = now
            elif before != now:
                raise UserError(
                    f"{self.run.path}: its {what} have changed since it began; "
                    "start a new run, or put the old data back"
                )
        self.checkpoints.forget_after("latest", step)  # damaged ones
        self.checkpoints.forget_after("best", max(kept["validated"], kept["best_step"]))
        console.print(f"continuing {self.run.path} from step {step} of {self.total}")
        return self.driver.place_state(state), Record(**kept), step

    def _mend_best(self) -> None:
        """If the best checkpoint is lost, makes it anew from `latest`, or takes the best of what is left."""
        problem = hosts.from_first(self.checkpoints.best_problem())
        if problem is None:
            return
        record, lost = self.record, self.record.best_step
        self.checkpoints.forget_after("best", lost - 1)
        there = lost in self.checkpoints.steps("latest") and self.checkpoints.problem("latest", lost) is None
        if hosts.from_first(there):
            like = init_state(self.config, init_params(self.config), self.total)
            state, kept = self.checkpoints.restore_state(lost, self.config, like)
            kept |= {"validated": lost, "best_dice": record.best_dice, "best_step": lost}
            self.checkpoints.save("best", state, self.config, kept)
            warn(f"{problem}; it is made anew from the latest checkpoint, which has the same step")
            return
        record.best_step, record.best_dice = self.step, self.validation.dice(self._averaged(), self.step)
        older = self.checkpoints.steps("best")[-1:]
        if older and self.checkpoints.problem("best", older[0]) is None:
            kept = self.checkpoints.meta("best", older[0])["record"]
            if kept["best_dice"] >= record.best_dice:
                record.best_step, record.best_dice = older[0], kept["best_dice"]
        record.best_step, record.best_dice = hosts.from_first([record.best_step, record.best_dice])
        if record.best_step == self.step:
            self._save("best")
        self.checkpoints.save("latest", self.state, self.config, asdict(record), overwrite=True)
        warn(f"{problem}; the best of what is left is step {record.best_step}, with a Dice of {record.best_dice:.4f}")

    def _averaged(self) -> Params:
        return self.layout.unravel_host(np.asarray(self.state.ema))

    def _validate_or_save_if_due(self) -> None:
        if self.step == 0:
            return
        every = self.config.train.validate_every * self.epoch_steps
        validate = self.step % every == 0 or self.step == self.total
        if validate and self.record.validated < self.step:
            self.meter.settle()
            self._validate()
            # A stop amid the last validation has saved this step already, and no later one will hold what has changed.
            self._save("latest", overwrite=self.step == self.total)
            self.meter.restart_clock()
        elif self.step % self.config.train.checkpoint_every == 0:
            self.meter.settle()
            self._save("latest")

    def _validate(self) -> None:
        """Scores the averaged parameters, saves them if they are the best so far, and adapts the learning rate."""
        self.check_folder()
        started = time.monotonic()
        epoch = self.step / self.epoch_steps
        dice = self.validation(self._averaged(), self.step, epoch)
        self.record.validated = self.step
        if dice > self.record.best_dice:
            self.record.best_dice, self.record.best_step = dice, self.step
            self._save("best")
        # Dice at full size says little about steps at half size.
        if self.config.optim.schedule == "plateau" and self.step > self.half_size_steps:
            _, scale = plateau(self.config.optim).update(self.state.params, self.state.plateau, value=1 - dice)
            self.state = self.driver.place_state(replace(self.state, plateau=scale))
        console.print(
            f"epoch {epoch:g} (step {self.step}): validation Dice {dice:.4f}, "
            f"best {self.record.best_dice:.4f}, {duration(time.monotonic() - started)}"
        )

    def _save(self, kind: str, *, overwrite: bool = False) -> None:
        self.check_folder()
        self.checkpoints.save(kind, self.state, self.config, asdict(self.record), overwrite=overwrite)
