"""`flowseg eval`: a run's scores on a split, beside a classical reference, with a picture of every image."""

import csv
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from rich.table import Table
from rich.text import Text

from flowseg import hosts
from flowseg.data.dataset import Dataset
from flowseg.data.image_files import as_uint8, read_image
from flowseg.errors import counted
from flowseg.evaluation import frangi
from flowseg.evaluation.arrays import Grey, Mask, pixels_inside
from flowseg.evaluation.metric_table import MASK_METRICS, Metric, on_terminal
from flowseg.evaluation.metrics import Interval, mask_metrics, prediction_metrics
from flowseg.evaluation.overlays import grey, overlay, save_png, strip
from flowseg.evaluation.place import evaluation_folder
from flowseg.evaluation.score import Scored, check_finite, intervals, own_images, score
from flowseg.evaluation.uncertainty import AUROC, EXPECTED_ERROR, expected_error, uncertainty_auroc
from flowseg.files import replaced_folder
from flowseg.progress import console, duration, task
from flowseg.runs.ensemble import common_rule, identified
from flowseg.runs.prepare import Prepared
from flowseg.runs.trained import Trained
from flowseg.sampling.mask import PLAIN, MaskRule
from flowseg.sampling.segment import Segmentation, pooled, segment

Row = dict[str, float | None]


def _image(dataset: Dataset, index: int) -> Grey:
    """An image at its stored size."""
    return as_uint8(read_image(dataset.pairs[index].image)[0])


def _pixels(dataset: Dataset, index: int) -> tuple[Grey, Mask, Mask | None]:
    """An image, its mask and its field of view at their stored size."""
    return _image(dataset, index), dataset.truth(index), dataset.fov(index)


def frangi_reference(val: Dataset, split: Dataset) -> tuple[list[Row], frangi.FrangiSettings]:
    """The scores on `split` of a Frangi filter tuned on `val`, one row per image, and the filter's settings.

    The filter's response is not a probability, so only metrics of its mask are computed.
    """
    with task(f"Frangi reference on {split.split}", len(split)) as advance:
        tuned = frangi.tune(*zip(*(_pixels(val, i) for i in range(len(val))), strict=True))
        rows = []
        for i in range(len(split)):
            image, mask, fov = _pixels(split, i)
            rows.append(mask_metrics(frangi.segment(image, tuned, fov), mask, fov))
            advance()
    return rows, tuned


def table(name: str, columns: dict[str, dict[str, Interval]], images: int, *, fov: bool = False) -> Table:
    """Means over images with 95 % intervals: a row per metric that the terminal shows, a column per method.

    `fov`: whether the scores are inside the field of view only.
    """
    inside = ", inside the field of view" if fov else ""
    title = f"{name}: mean over {counted(images, 'image')}{inside} [bootstrap 95 % interval]"
    shown = Table(title=Text(title), title_justify="left")
    for label in ("", "better", *columns):
        shown.add_column(Text(label), overflow="fold")
    for row in on_terminal():
        if any(row.key in scores for scores in columns.values()):
            cells = [_cell(scores.get(row.key), row, images) for scores in columns.values()]
            shown.add_row(row.key, row.better, *cells)
    return shown


def _cell(found: Interval | None, row: Metric, images: int) -> str:
    """A mean and its interval, with the number of images if some do not have the value."""
    if found is None or not found.n:
        return "-"
    of_mean, of_ends = row.unit.on_terminal
    interval = f" [{found.low:.{of_ends}f}, {found.high:.{of_ends}f}]" if found.n > 1 else ""
    return f"{found.mean:.{of_mean}f}{interval}" + (f" n={found.n}" if found.n < images else "")


def _json(scores: dict[str, Interval]) -> dict[str, Any]:
    # Without images there is no mean, with one no interval. They are null, because JSON has no NaN.
    return {
        name: {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(interval).items()}
        for name, interval in scores.items()
    }


def _write_csv(path: Path, keys: Sequence[str], rows: Sequence[Row], reference: Sequence[Row]) -> None:
    """Writes one line per image; a value that does not exist is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *rows[0], *(f"frangi_{row.key}" for row in MASK_METRICS)])
        for key, ours, classical in zip(keys, rows, reference, strict=True):
            values = [*ours.values(), *(classical[row.key] for row in MASK_METRICS)]
            writer.writerow([key, *("" if value is None else f"{value:.6f}" for value in values)])


def _write_pictures(folder: Path, item: Scored, image: UInt8[np.ndarray, "h w"]) -> None:
    """Writes overlays/NAME.png, and to images/NAME the layers that a viewer shows, all at the image's stored size."""
    name = Path(item.key).name
    save_png(folder / "overlays" / f"{name}.png", strip([image, overlay(image, item.prediction, item.truth)]))
    layers = folder / "images" / name
    layers.mkdir(parents=True)
    save_png(layers / "image.png", image)
    for layer in ("truth", "fov", "prediction", "probability", "uncertainty"):
        values = getattr(item, layer)
        if values is not None:
            save_png(layers / f"{layer}.png", grey(values))


def _measure(item: Scored) -> Row:
    """All metrics of an image and, with an ensemble, the score of its uncertainty and its expected error."""
    row = prediction_metrics(item.probability, item.prediction, item.truth, item.fov)
    if item.uncertainty is not None:
        maps = (item.prediction, item.truth, item.uncertainty)
        auroc = uncertainty_auroc(*(pixels_inside(one, item.fov) for one in maps))
        row[AUROC] = None if np.isnan(auroc) else auroc
        row[EXPECTED_ERROR] = expected_error(item.probability, item.prediction)
    return row


def evaluate(
    trained: Trained, datasets: dict[str, Dataset], split: str, folder: Path, about: dict[str, Any]
) -> dict[str, Any]:
    """Segments a split with a run and evaluates that (`evaluate_segmentations`); several processes share its images.

    Args:
        trained: the run, opened with the settings to sample with.
        datasets: the loaded splits `val` (for the reference) and `split`.
        folder: what is written.
        about: what identifies the evaluation, kept in metrics.json beside the settings of sampling.
    """
    rule = MaskRule(**hosts.from_first(asdict(trained.rule) if hosts.is_first() else None))
    found = segment(trained.sampler, trained.params, own_images(datasets[split]))
    about = {**about, "sampler": asdict(trained.config.eval)}
    return evaluate_segmentations(found, datasets, split, folder, about, trained.config.name, rule)


@contextmanager
def _replaced_together(folder: Path) -> Iterator[Path]:
    """Yields the new folder that replaces `folder` at the end; all processes write into the same one."""
    with replaced_folder(folder) if hosts.is_first() else nullcontext() as part:
        if part is not None:
            (part / "overlays").mkdir()
        yield Path(hosts.from_first(str(part)))


def evaluate_segmentations(
    segmentations: Iterable[Segmentation],
    datasets: dict[str, Dataset],
    split: str,
    folder: Path,
    about: dict[str, Any],
    name: str,
    rule: MaskRule = PLAIN,
) -> dict[str, Any]:
    """Scores a split, writes metrics.json, per_image.csv, overlays/ and images/, and returns what metrics.json holds.

    All of them are written or none. Raises a UserError if a prediction is not finite.

    Args:
        segmentations: one per image of the split, in order, whatever made it; of several processes, each brings those
            of its own images.
        datasets: the loaded splits `val` (for the reference) and `split`.
        folder: what is written; an earlier evaluation there is replaced.
        about: what identifies the evaluation, kept in metrics.json.
        name: what made the segmentations, for the table on the terminal.
        rule: makes the masks of the probabilities.
    """
    dataset, own = datasets[split], own_images(datasets[split])
    with _replaced_together(folder) as part:
        started = time.monotonic()
        rows = []
        with task(f"evaluation on {split}", len(own)) as advance:
            for item in score(segmentations, own, rule):
                check_finite(item.key, item.probability)
                rows.append(_measure(item))
                _write_pictures(part, item, _image(own, item.index))
                advance()
        rows = [row for of_one in hosts.gather(rows) for row in of_one]
        seconds = time.monotonic() - started
        if not hosts.is_first():
            return dict(hosts.from_first(None))
        reference, tuned = frangi_reference(datasets["val"], dataset)
        ours, classical = intervals(rows), intervals(reference)
        result = {
            **about,
            "split": split,
            "images": len(rows),
            **asdict(rule),
            "field_of_view": dataset.has_fov,
            "seconds": round(seconds, 2),
            "model": _json(ours),
            "frangi": {"settings": asdict(tuned), **_json(classical)},
        }
        _write_csv(part / "per_image.csv", [pair.key for pair in dataset.pairs], rows, reference)
        (part / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    columns = {name: ours, "Frangi (tuned on val)": classical}
    console.print(table(split, columns, len(rows), fov=dataset.has_fov))
    console.print(f"masks: {rule}")
    console.print(f"{counted(len(rows), 'image')} in {duration(seconds)}; all metrics, overlays: {folder}")
    return dict(hosts.from_first(result))


def evaluate_together(members: Sequence[Trained], split: str, prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Scores several runs of one config as one on a split (`pooled`, `common_rule`); returns what metrics.json holds.

    The other arguments are those of `evaluate_run`.
    """
    config, dataset = members[0].config, prepared.datasets[split]
    found = pooled([segment(member.sampler, member.params, dataset) for member in members])
    about = {**identified(members), "val_dice": None, "data": str(prepared.root), "sampler": asdict(config.eval)}
    name = f"{config.name}: {len(members)} runs"
    return evaluate_segmentations(found, prepared.datasets, split, folder, about, name, common_rule(members))


def evaluate_run(trained: Trained, split: str, prepared: Prepared, out: Path | None = None) -> dict[str, Any]:
    """Scores a run's best checkpoint on a split, and returns what metrics.json holds.

    Args:
        prepared: the data, with the splits `val` and `split`.
        out: the folder to write (see `make_place`), in which an earlier evaluation is replaced; None:
            `evaluation_folder`.
    """
    run = trained.run
    about = {"run": str(run.path), "step": trained.step, "val_dice": trained.best_dice, "data": str(prepared.root)}
    folder = out or evaluation_folder(trained, split)
    return evaluate(trained, prepared.datasets, split, folder, about)
