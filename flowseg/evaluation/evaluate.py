"""`flowseg eval`: a run's scores on a split, beside a classical reference, with a picture of every image."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from flowseg.config import EvalConfig
from flowseg.data.dataset import Dataset
from flowseg.data.folders import as_uint8, read_image, read_label
from flowseg.evaluation import frangi
from flowseg.evaluation.metrics import METRICS, Interval, overlap_metrics
from flowseg.evaluation.overlays import overlay, save_png, strip
from flowseg.evaluation.score import Scored, intervals, score_split
from flowseg.evaluation.windows import WindowSampler
from flowseg.models.network import Params
from flowseg.progress import Task, console, duration, task
from flowseg.runs import replaced_folder

Rows = list[dict[str, float]]


def _pixels(dataset: Dataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (uint8) and mask at their stored size."""
    pair = dataset.pairs[index]
    return as_uint8(read_image(pair.image)[0]), read_label(pair.label)


def frangi_reference(val: Dataset, split: Dataset) -> tuple[Rows, frangi.FrangiSettings]:
    """Scores of a Frangi filter whose scale, threshold and polarity are tuned on `val`, image by image."""
    with task(f"Frangi reference on {split.split}", len(split)) as advance:
        tuned = frangi.tune(*zip(*(_pixels(val, i) for i in range(len(val))), strict=True))
        rows = []
        for i in range(len(split)):
            image, mask = _pixels(split, i)
            rows.append(overlap_metrics(frangi.segment(image, tuned), mask))
            advance()
    return rows, tuned


def table(name: str, rows: dict[str, dict[str, Interval]], images: int) -> Table:
    """Means over images with 95 % intervals, a row per method."""
    title = f"{name}: mean over {images} images, below it the bootstrap 95 % interval"
    shown = Table(title=title, title_justify="left", show_lines=True)
    shown.add_column("", no_wrap=True)
    for metric in METRICS:
        shown.add_column(metric, justify="right")
    for label, scores in rows.items():
        cells = [f"{scores[m].mean:.4f}\n{scores[m].low:.3f}-{scores[m].high:.3f}" for m in METRICS]
        shown.add_row(label, *cells)
    return shown


def _json(scores: dict[str, Interval]) -> dict[str, Any]:
    # An interval of one image does not exist; JSON has no NaN.
    return {
        name: {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(interval).items()}
        for name, interval in scores.items()
    }


def _write_csv(path: Path, scored: Sequence[Scored], reference: Rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *METRICS, *(f"frangi_{m}" for m in METRICS)])
        for item, row in zip(scored, reference, strict=True):
            writer.writerow(
                [item.key, *(f"{item.metrics[m]:.6f}" for m in METRICS), *(f"{row[m]:.6f}" for m in METRICS)]
            )


def evaluate(
    sampler: WindowSampler,
    params: Params,
    datasets: dict[str, Dataset],
    split: str,
    embeddings: np.ndarray | None,
    folder: Path,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Scores a split and writes metrics.json, per_image.csv and overlays/, all of them or none.

    Args:
        datasets: the loaded splits `val` (for the reference) and `split`.
        folder: what is written; an earlier evaluation there is replaced.
        about: what identifies the evaluation (run, checkpoint), kept in metrics.json.

    Returns:
        What metrics.json holds.
    """
    dataset = datasets[split]
    with replaced_folder(folder) as part:
        (part / "overlays").mkdir()
        started = time.monotonic()
        shown = Task(f"evaluation on {split}", len(dataset))

        def draw(item: Scored) -> None:
            image, _ = _pixels(dataset, item.index)
            picture = strip([image, overlay(image, item.prediction, item.truth)])
            save_png(part / "overlays" / f"{Path(item.key).name}.png", picture)
            shown.advance()

        try:
            scored = score_split(sampler, params, dataset, embeddings, draw)
        finally:
            shown.close()
        seconds = time.monotonic() - started
        reference, tuned = frangi_reference(datasets["val"], dataset)
        ours, classical = intervals([s.metrics for s in scored]), intervals(reference)
        settings: EvalConfig = sampler.config.eval
        result = {
            **about,
            "split": split,
            "images": len(scored),
            "sampler": asdict(settings),
            "seconds": round(seconds, 2),
            "model": _json(ours),
            "frangi": {"settings": asdict(tuned), **_json(classical)},
        }
        _write_csv(part / "per_image.csv", scored, reference)
        (part / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = {sampler.config.name: ours, "Frangi\n(tuned on val)": classical}
    console.print(table(split, rows, len(scored)))
    console.print(f"{len(scored)} images in {duration(seconds)}; scores and overlays: {folder}")
    return result
