"""From a config to a trained network and its scores: the story of one experiment."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.config import Config, EvalConfig
from flowseg.data.dataset import Dataset, load_splits, shared_images
from flowseg.data.folders import SPLITS
from flowseg.embeddings.source import EmbeddingSource
from flowseg.embeddings.store import Encoder
from flowseg.errors import UserError
from flowseg.evaluation.evaluate import evaluate
from flowseg.evaluation.score import Embeddings
from flowseg.files import write_text
from flowseg.models.network import Params, abstract_params, parameter_counts
from flowseg.phantoms.default import data_root
from flowseg.progress import console, task
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import (
    DONE_FILE,
    Run,
    create_run,
    find_interrupted,
    is_run,
    lock,
    new_path,
    open_to_resume,
)
from flowseg.runs.threshold import FIXED, tuned_threshold
from flowseg.sampling.windows import WindowSampler
from flowseg.training.loop import train
from flowseg.training.step import chosen_devices


@dataclass(frozen=True)
class Prepared:
    """Data ready for use."""

    root: Path
    datasets: dict[str, Dataset]
    embeddings: dict[str, np.ndarray] | None
    encoder: Encoder | None


def prepare(config: Config, splits: Iterable[str] = SPLITS) -> Prepared:
    """Reads and checks every image of the splits, and finds its embedding where the network takes one."""
    source = embedding_source(config)
    root = data_root(config.data)
    datasets = load_splits(root, config.data, splits)
    shared = shared_images(datasets)
    if shared:
        console.print(
            f"[bold]WARNING[/bold]: {len(shared)} images are in two splits ({shared[0][0]} is {shared[0][1]}): "
            "scores on them say little"
        )
    if source is None:
        return Prepared(root, datasets, None, None)
    embeddings = {}
    with task(f"{source.encoder.name} embeddings", sum(len(d) for d in datasets.values())) as advance:
        for split, dataset in datasets.items():
            keys, paths = [p.key for p in dataset.pairs], [p.image for p in dataset.pairs]
            embeddings[split] = source.vectors(keys, paths, dataset.contents, str(root), advance)
    return Prepared(root, datasets, embeddings, source.encoder)


def embedding_source(config: Config) -> EmbeddingSource | None:
    """Where the config's embeddings come from; None for a network without FiLM."""
    if not config.model.film.stages:
        return None
    return EmbeddingSource(config.embeddings.store, config.model.film.embedding_width)


def _digest(prepared: Prepared) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update("".join(prepared.datasets["train"].contents).encode())
    if prepared.embeddings is not None:
        digest.update(np.ascontiguousarray(prepared.embeddings["train"]).tobytes())
    return digest.hexdigest()


def choose_run(config: Config, encoder: Encoder | None, resume: str | None, out: Path | None) -> Run:
    """The run's folder: a new one, or an interrupted one to continue.

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


def run_experiment(config: Config, *, resume: str | None = None, out: Path | None = None) -> Run:
    """Trains, then scores the best checkpoint on the test split. The whole of `make train`."""
    chosen_devices(config)  # a batch that does not fit them shows before anything is written
    prepared = prepare(config)
    run = choose_run(config, prepared.encoder, resume, out)
    with lock(run):
        counts = parameter_counts(abstract_params(config))
        sizes = ", ".join(f"{len(d)} {split}" for split, d in prepared.datasets.items())
        console.print(f"run {run.path}: {counts['total']:,} parameters; {prepared.root} ({sizes})")
        if not run.finished:
            record = train(run, prepared.datasets, prepared.embeddings, _digest(prepared))
            console.print(f"best validation Dice {record.best_dice:.4f} at step {record.best_step}")
        result = _evaluate(run, prepared, "test")
        write_text(run.path / DONE_FILE, json.dumps({"test_dice": result["model"]["dice"]["mean"]}) + "\n")
    console.print(f"score it again with: flowseg eval {run.path}   (make eval RUN={run.path})")
    return run


def elsewhere(config: Config, data: str | None, embeddings: str | None) -> Config:
    """The config with another data set or embedding store, where one is given."""
    if data is not None:
        config = replace(config, data=replace(config.data, root=data))
    if embeddings is not None:
        config = replace(config, embeddings=replace(config.embeddings, store=embeddings))
    return config


def evaluate_run(
    run: Run,
    split: str,
    *,
    settings: EvalConfig | None = None,
    data: str | None = None,
    embeddings: str | None = None,
) -> dict[str, Any]:
    """Scores a run's best checkpoint on a split: its own sampling, data set and embeddings unless others are given."""
    prepared = prepare(elsewhere(run.config, data, embeddings), dict.fromkeys(("val", split)))
    return _evaluate(run, prepared, split, settings)


def threshold_of(run: Run, sampler: WindowSampler, params: Params, step: int) -> float:
    """The probability above which a pixel is vessel, as the sampler's `eval.threshold` says.

    Tuning takes the run's own validation images and embeddings, whatever images it is for.
    """
    if sampler.config.eval.threshold == "fixed":
        return FIXED

    def validation() -> tuple[Dataset, Embeddings | None]:
        try:
            prepared = prepare(run.config, ["val"])
            check_encoder(run, prepared.encoder)
        except UserError as error:
            raise UserError(f"{error} (a threshold is tuned on the run's validation images; or use fixed)") from None
        return prepared.datasets["val"], prepared.embeddings["val"] if prepared.embeddings is not None else None

    return tuned_threshold(run.path, sampler, params, step, validation).threshold


def check_encoder(run: Run, encoder: Encoder | None) -> None:
    """Raises a UserError where embeddings come from another encoder than those that the run was trained on."""
    if run.encoder is not None and encoder is not None and run.encoder != encoder:
        raise UserError(
            f"{run.path}: was trained on {run.encoder} embeddings, these are from {encoder} "
            f"(settings {json.dumps(encoder.settings)}); use a store made like the run's"
        )


def _evaluate(run: Run, prepared: Prepared, split: str, settings: EvalConfig | None = None) -> dict[str, Any]:
    check_encoder(run, prepared.encoder)
    checkpoints = Checkpoints(run.path)
    params, meta = checkpoints.restore_best(run.config)
    checkpoints.close()
    about = {
        "run": str(run.path),
        "step": meta["step"],
        "val_dice": meta["record"]["best_dice"],
        "data": str(prepared.root),
    }
    vectors = prepared.embeddings[split] if prepared.embeddings is not None else None
    folder = run.path / "eval" / split
    folder.parent.mkdir(exist_ok=True)
    sampler = WindowSampler(replace(run.config, eval=settings or run.config.eval))
    threshold = threshold_of(run, sampler, params, meta["step"])
    return evaluate(sampler, params, prepared.datasets, split, vectors, folder, about, threshold)
