"""A trained run or an exported model, opened for use: eval, predict, analyze and the benchmarks all begin here."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from flowseg.config import Config, EvalConfig
from flowseg.data.dataset import Dataset
from flowseg.errors import UserError
from flowseg.models.network import Params
from flowseg.progress import console, task
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.exported import read_weights
from flowseg.runs.folder import Run
from flowseg.runs.prepare import Prepared, is_own_data, prepare_for, with_sources
from flowseg.runs.tuning import sampling, tuned_rule
from flowseg.sampling.canvas import Map
from flowseg.sampling.mask import FIXED, MaskRule
from flowseg.sampling.segment import segment
from flowseg.sampling.windows import WindowSampler


@dataclass(frozen=True)
class Trained:
    """A run's best checkpoint with all that is needed to segment images as it is asked to."""

    run: Run
    config: Config
    """The run's config, with the sampling settings, data set and embeddings that were asked for."""
    params: Params
    """The averaged parameters of the best checkpoint."""
    step: int
    """The checkpoint's step."""
    best_dice: float | None
    """Its validation Dice; None for an imported run, as is the digest."""
    data_digest: str | None
    """Digest of the images, fields of view and embeddings that the run was trained on."""
    sampler: WindowSampler
    validation: Dataset | None = None
    """The run's own validation images, if they are loaded already; otherwise they are when they are needed."""
    validation_digest: str | None = None
    """Digest of the validation images, labels and embeddings that it was trained with; None if that is not known."""

    @classmethod
    def open(
        cls,
        run: Run,
        settings: EvalConfig | None = None,
        *,
        data: str | None = None,
        embeddings: str | None = None,
        prepared: Prepared | None = None,
    ) -> "Trained":
        """Opens a run, or an exported model.

        Args:
            settings: how to sample; None: as the run's config says.
            data, embeddings: another data set or embedding store than the run's own.
            prepared: the data, if they are loaded already; `val` is among them.

        Raises:
            UserError: no best checkpoint, a damaged one, one of another config, or another program's network.
        """
        if run.network is not None:
            raise UserError(
                f"{run.path}: its network ({run.network.name}) is not flowseg's; only `flowseg compare` reads this run"
            )
        config = with_sources(replace(run.config, eval=settings or run.config.eval), data, embeddings)
        if config.eval.tta and not (config.data.flip and config.data.quarter_turn):
            console.print(
                "NOTE: tta averages over flips and quarter turns, which this run was not trained on (data.flip, "
                "data.quarter_turn): expect lower scores"
            )
        sampler = WindowSampler(config)
        own = is_own_data(run.config, data) and embeddings is None
        validation = prepared.datasets["val"] if prepared is not None and own else None
        if (made := run.exported) is not None:
            params = read_weights(run.path, made, run.config)
            return cls(run, config, params, made.step, made.best_dice, made.data, sampler, validation)
        with closing(Checkpoints(run.path, read_only=True)) as checkpoints:
            params, meta = checkpoints.restore_best(run.config)
        record, step = meta["record"], meta["step"]
        best, digests = record["best_dice"], (record.get("data"), record.get("validation"))
        trained = cls(run, config, params, step, best, digests[0], sampler, validation, digests[1])
        if prepared is not None and config.data.fold is not None:
            trained._check_fold(prepared.datasets["val"], embeddings is None)
        if best is not None:
            console.print(f"{run.path}: checkpoint of step {step}, the best in validation (Dice {best:.4f})")
        return trained

    @cached_property
    def rule(self) -> MaskRule:
        """What makes a mask of a probability, as `eval.threshold` and `eval.min_component` say.

        What is tuned is tuned on the run's own validation images and embeddings, whatever images it is used for: a
        threshold for the way of sampling that was asked for; at the fixed threshold, the minimum component size for
        the run's own way, once.
        """
        asked = self.config.eval
        if asked.threshold == "fixed":
            if asked.min_component != "auto":
                return MaskRule(FIXED, asked.min_component)
            asked = replace(self.run.config.eval, threshold="fixed", min_component="auto")
        return tuned_rule(self.run.path, asked, self.step, lambda: self._predict_validation(asked))

    def with_settings(self, settings: EvalConfig) -> "Trained":
        """Returns the same checkpoint, opened to sample with other settings."""
        config = replace(self.config, eval=settings)
        return replace(self, config=config, sampler=WindowSampler(config))

    def prepare(self, splits: Iterable[str]) -> Prepared:
        """Loads splits of the data set, with embeddings of the encoder that the run was trained on.

        Those of a fold come with `val`, which tells whether they are still divided as they were.
        """
        if self.config.data.fold is None:
            return prepare_for(self.run, self.config, splits)
        prepared = prepare_for(self.run, self.config, dict.fromkeys(("val", *splits)))
        self._check_fold(prepared.datasets["val"], self.config.embeddings == self.run.config.embeddings)
        return prepared

    def _check_fold(self, validation: Dataset, own_embeddings: bool = True) -> None:
        """Raises a UserError if the data that a fold was made of have changed since the run was trained.

        Of other images a fold would be others: some of those that the run has been trained on. With other embeddings
        than the run's own, only the labels are compared.
        """
        fold, was = self.run.config.data.fold, self.validation_digest
        if fold is None or was is None:
            return
        same_labels = was.endswith(f"-{validation.label_digest()}")
        if was == validation.whole_digest() or (same_labels and not own_embeddings):
            return
        raise UserError(
            f"{self.run.path}: its validation images, labels or embeddings have changed since it was trained, so it "
            f"is not known which images fold {fold} has not seen; put the old data back, or train it again"
        )

    def _predict_validation(self, settings: EvalConfig) -> Iterator[tuple[Map, Bool[np.ndarray, "h w"]]]:
        """Yields probability and truth of each image of the validation split that the run was trained with."""
        if self.run.exported is not None:
            raise UserError(
                f"{self.run.path}: is an exported model that holds no mask rule for these settings; use --threshold "
                "fixed and a number for --min-component, or tune one in the run it came from and export that again"
            )
        dataset = self.validation
        if dataset is None:
            try:
                dataset = prepare_for(self.run, self.run.config, ["val"]).datasets["val"]
                self._check_fold(dataset)
            except UserError as error:
                remedy = "or use --threshold fixed and a number for --min-component"
                raise UserError(f"{error} (masks are tuned on the run's validation images; {remedy})") from None
        same = sampling(settings) == sampling(self.config.eval)
        sampler = self.sampler if same else WindowSampler(replace(self.config, eval=settings))
        with task("mask rule on val", len(dataset)) as advance:
            for i, found in enumerate(segment(sampler, self.params, dataset)):
                yield found.inside(dataset.fov(i)).probability, dataset.truth(i)
                advance()
