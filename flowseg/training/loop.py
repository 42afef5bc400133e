"""One training run, from data and config to a trained network on disk.

The order within the loop is: validate and save where due, stop if asked to, step.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import jax
import numpy as np
from jaxtyping import Float32

from flowseg.data.dataset import Dataset
from flowseg.data.folders import as_uint8
from flowseg.data.pipeline import iterate, steps_per_epoch, training_batches
from flowseg.errors import UserError
from flowseg.evaluation.overlays import overlay, save_png, strip
from flowseg.evaluation.score import Scored, mean_metrics, score_split
from flowseg.flow.paths import estimate_of
from flowseg.models.kernels import choose
from flowseg.models.network import Network, abstract_params, init_params
from flowseg.models.vector import Layout
from flowseg.progress import Task, console, duration
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import Run
from flowseg.runs.log import Telemetry, film_statistics
from flowseg.sampling.windows import WindowSampler
from flowseg.training.interrupt import Interrupted, StopRequest, stop_on_signals
from flowseg.training.optim import plateau
from flowseg.training.step import TrainState, init_state, make_driver

Embeddings = dict[str, Float32[np.ndarray, "n e"]]
_GRID_IMAGES = 4


@dataclass
class Record:
    """What the loop keeps besides the train state; saved with every checkpoint."""

    data: str
    """Digest of the training images and the embedding encoder."""
    validated: int = -1
    """Step of the last validation."""
    best_dice: float = -1.0
    best_step: int = -1
    window: list[dict[str, float]] = field(default_factory=list)
    """Measurements of the steps since the last line of metrics.jsonl."""


def train(run: Run, datasets: dict[str, Dataset], embeddings: Embeddings | None, data_digest: str) -> Record:
    """Trains to the config's last epoch, from the run's latest checkpoint if it has one.

    Args:
        run: where everything is written.
        datasets: the loaded splits `train` and `val`.
        embeddings: with FiLM, one vector per image of each split.
        data_digest: changes when the training images or embeddings do; a run is not resumed on other data.

    Raises:
        UserError: data changed since the run began, a damaged checkpoint, or a loss that is not finite for
            `train.max_bad_steps` steps in a row.
        Interrupted: stopped by a signal; everything is saved.
    """
    return _Training(run, datasets, embeddings, data_digest).go()


class _Training:
    def __init__(self, run: Run, datasets: dict[str, Dataset], embeddings: Embeddings | None, digest: str):
        self.run, self.config = run, run.config
        self.datasets, self.embeddings = datasets, embeddings
        config = self.config
        self.epoch_steps = steps_per_epoch(config, len(datasets["train"]))
        self.total = config.train.epochs * self.epoch_steps
        self.driver = make_driver(config, self.total)
        # One plain sample: validation chooses a checkpoint, and is paid for many times.
        plain = replace(config, eval=replace(config.eval, ensemble=1, tta=False))
        self.sampler = WindowSampler(plain, jax.devices()[: self.driver.devices])
        self.network = Network(config, choose(jax.default_backend(), config.precision), estimate_of)
        self.layout = Layout(abstract_params(config))
        self.checkpoints = Checkpoints(run.path)
        self.record = Record(data=digest)
        # Counted on the host: asking the device for state.step would wait for it.
        self.step = 0

    def go(self) -> Record:
        state = self._initial_state()
        self.telemetry = Telemetry(self.run.path, self.step, self.record.validated)
        progress = Task("training", self.total, self.step)
        try:
            with stop_on_signals() as stop:
                state = self._loop(state, progress, stop)
        finally:
            progress.close()
            self.telemetry.close()
            self.checkpoints.close()
        assert self.driver.traces <= 1, f"the step was traced {self.driver.traces} times: shapes changed"
        assert self.sampler.traces <= 1, f"the sampler was traced {self.sampler.traces} times: shapes changed"
        return self.record

    def _initial_state(self) -> TrainState:
        """Fresh parameters, or the latest checkpoint's whole state."""
        fresh = init_state(self.config, init_params(self.config), self.total)
        steps = self.checkpoints.steps("latest")
        if not steps:
            self.checkpoints.forget_after("best", -1)
            return self.driver.place_state(fresh)
        state, record = self.checkpoints.restore_state(steps[-1], self.config, fresh)
        if record["data"] != self.record.data:
            raise UserError(
                f"{self.run.path}: its training images or embeddings have changed since it began; "
                "start a new run, or put the old data back"
            )
        self.record = Record(**record)
        self.step = steps[-1]
        self.checkpoints.forget_after("best", self.record.validated)
        console.print(f"continuing {self.run.path} from step {self.step} of {self.total}")
        return self.driver.place_state(state)

    def _loop(self, state: TrainState, progress: Task, stop: StopRequest) -> TrainState:
        config = self.config
        validate_steps = config.train.validate_every * self.epoch_steps
        vectors = self.embeddings["train"] if self.embeddings is not None else None
        batches = training_batches(config, self.datasets["train"], vectors)
        if self.step < self.total:
            console.print("compiling the training step: a minute or so the first time, then it is kept")
        upcoming = iterate(batches, self.step, self.total, config.data.threads)
        started = time.monotonic()
        pending: dict[str, Any] | None = None
        try:
            while True:
                due = self.step > 0 and (self.step % validate_steps == 0 or self.step == self.total)
                if due and self.record.validated < self.step:
                    self._measure(pending)
                    pending = None
                    state = self._validate(state, stop)
                    self._save("latest", state)
                    started = time.monotonic()
                elif self.step % config.train.checkpoint_every == 0 and self.step > 0:
                    self._measure(pending)
                    pending = None
                    self._save("latest", state)
                if self.step == self.total:
                    return state
                stop.check()
                state, metrics = self.driver(state, next(upcoming))
                # The numbers of the step before are read while this one computes.
                self._measure(pending)
                pending = metrics
                self.step += 1
                if self.step % config.train.log_every == 0:
                    self._measure(pending)
                    pending = None
                    seconds, started = time.monotonic() - started, time.monotonic()
                    self._log(seconds)
                progress.advance(1, self._note())
        except Interrupted as interrupted:
            self._measure(pending)
            self._save("latest", state)
            self.checkpoints.close()
            console.print(
                f"stopped by {interrupted} at step {self.step} of {self.total}, saved in {self.run.path}; "
                "continue with the same command and --resume auto (make: RESUME=auto)"
            )
            raise

    def _measure(self, metrics: dict[str, Any] | None) -> None:
        """Takes up the numbers of one step; stops the run when losses stay non-finite."""
        if metrics is None:
            return
        values = {name: float(value) for name, value in metrics.items()}
        self.record.window.append(values)
        if values["bad_run"] >= self.config.train.max_bad_steps:
            raise UserError(
                f"{self.run.path}: the loss was not finite for {values['bad_run']:.0f} steps in a row "
                f"(step {self.step}); "
                f"lower optim.lr (now {self.config.optim.lr:g}) or optim.clip_norm, or train in float32"
            )

    def _note(self) -> str:
        losses = [m["loss"] for m in self.record.window if np.isfinite(m["loss"])]
        return f"loss {np.mean(losses):.4f}  {self._speed}" if losses else self._last_note

    _speed = ""
    _last_note = ""

    def _log(self, seconds: float) -> None:
        """One line of metrics.jsonl for the steps since the last."""
        window = self.record.window
        good = [m for m in window if np.isfinite(m["loss"])]
        images = len(window) * self.config.train.batch / max(seconds, 1e-9)
        self._speed = f"{images:.1f} images/s"
        values = {
            "steps": len(window),
            "loss": float(np.mean([m["loss"] for m in good])) if good else None,
            "grad_norm": float(np.mean([m["grad_norm"] for m in good])) if good else None,
            "lr": window[-1]["lr"],
            "skipped": int(window[-1]["skipped"]),
            "images_per_s": round(images, 2),
        }
        self._last_note = self._note()
        self.record.window = []
        self.telemetry.write("train", self.step, self.step / self.epoch_steps, values)

    def _validate(self, state: TrainState, stop: StopRequest) -> TrainState:
        """Scores the averaged parameters on the validation split, through the sampler, on whole images."""
        started = time.monotonic()
        epoch = self.step / self.epoch_steps
        dataset = self.datasets["val"]
        vectors = self.embeddings["val"] if self.embeddings is not None else None
        shown = Task(f"validation at step {self.step}", len(dataset))

        def on_image(_: Scored) -> None:
            shown.advance()
            stop.check()

        params = self.layout.unravel_host(np.asarray(state.ema))
        try:
            scored = score_split(self.sampler, params, dataset, vectors, on_image)
        finally:
            shown.close()
        scores = mean_metrics([s.metrics for s in scored])
        self.telemetry.write("val", self.step, epoch, {**scores, "images": len(scored)})
        if vectors is not None:
            placed = jax.numpy.asarray(vectors)
            films, condition = self.network.film(params, placed), self.network.condition(params, placed)
            for row in film_statistics(films, self.config.model.film.stages, condition):
                self.telemetry.write("film", self.step, epoch, row)
        self._picture(scored[:_GRID_IMAGES])
        self.record.validated = self.step
        if scores["dice"] > self.record.best_dice:
            self.record.best_dice, self.record.best_step = scores["dice"], self.step
            self._save("best", state)
        if self.config.optim.schedule == "plateau":
            _, scale = plateau(self.config.optim).update(state.params, state.plateau, value=1 - scores["dice"])
            state = self.driver.place_state(replace(state, plateau=scale))
        console.print(
            f"epoch {epoch:g} (step {self.step}): validation Dice {scores['dice']:.4f}, "
            f"best {self.record.best_dice:.4f}, {duration(time.monotonic() - started)}"
        )
        return state

    def _picture(self, scored: list[Scored]) -> None:
        """image | label | probability | overlay, a row per image."""
        dataset = self.datasets["val"]
        rows = []
        for item in scored:
            image = as_uint8(dataset[item.index].image)
            if image.shape != item.truth.shape:
                probability, truth = _resized(item, image.shape)
            else:
                probability, truth = item.probability, item.truth
            drawn = overlay(image, probability > 0.5, truth)
            rows.append(
                strip([image, truth.astype(np.uint8) * 255, np.round(probability * 255).astype(np.uint8), drawn])
            )
        width = max(row.shape[1] for row in rows)
        grid = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
        folder = self.run.path / "samples"
        folder.mkdir(exist_ok=True)
        save_png(folder / f"step-{self.step:06d}.png", grid)
        self.telemetry.image("val/samples", self.step, grid)

    def _save(self, kind: str, state: TrainState) -> None:
        self.checkpoints.save(kind, state, self.config, {**vars(self.record)})


def _resized(item: Scored, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    size = (shape[1], shape[0])
    return (
        cv2.resize(item.probability, size, interpolation=cv2.INTER_AREA),
        cv2.resize(item.truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool),
    )
