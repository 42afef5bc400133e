"""The report of a cross-validation: every image scored by the run that has not seen it, and the folds together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.config import Config, DataConfig
from flowseg.data.folds import FOLD, all_folds, split_pairs
from flowseg.errors import UserError, first_of
from flowseg.evaluation.metric_table import on_terminal
from flowseg.phantoms.default import root_of
from flowseg.progress import console
from flowseg.reports import folds_tables
from flowseg.reports.compare.differences import image_mean, image_tests
from flowseg.reports.compare.scores import SPLIT, Scores, Values, check_same_images, read_folder, read_scores
from flowseg.reports.compare.words import Language, Words
from flowseg.reports.folder import check_free, make_parent, report_folder
from flowseg.reports.pages import render
from flowseg.runs.ensemble import open_runs

FOLDS_FORMAT = "flowseg-folds-1"
COMMAND = "flowseg experiment --folds"
"""What makes this report."""
PerImage = dict[str, dict[str, float | None]]
"""The metrics of each image; None where a metric has no value."""
_AGAIN = "put the old data back, or train all folds again, into another folder"


@dataclass(frozen=True)
class Read:
    """The scores of a config's runs."""

    folder: Path
    by_fold: dict[str, list[Scores]]
    """Of each fold, in order, a run's scores for each seed."""
    tested: list[Scores]
    """On the test images, of each run."""
    together: Scores
    """On the test images, of all runs as one."""


def report_folds(folders: Sequence[Path], out: Path, lang: Language = "en") -> dict[str, Any]:
    """Writes report.html, report.md and report.json about cross-validated configs; returns the content of report.json.

    Args:
        folders: for each config the folder of its runs, all of which are finished, scored, and scored as one.
        out: the report's folder. An earlier report there is replaced.

    Raises:
        UserError: a run that is no fold or has no scores, a damaged file, folds of other images than another config's
            or than the data set has now, or a folder that holds something else.
    """
    check_free(out, FOLDS_FORMAT, COMMAND)
    all_read = [_read(folder) for folder in folders]
    for read in all_read[1:]:
        for fold, (scores, *_) in read.by_fold.items():
            check_same_images([all_read[0].by_fold[fold][0], scores], _AGAIN)
        check_same_images([all_read[0].together, read.together])
    names = [read.folder.resolve().name for read in all_read]
    per_image = [_per_image_out_of_fold(read) for read in all_read]
    out_of_fold = _common(per_image)
    tested = _common([_per_image(scores) for read in all_read for scores in (read.tested, [read.together])])
    summary: dict[str, Any] = {
        "format": FOLDS_FORMAT,
        "lang": lang,
        "folds": len(all_read[0].by_fold),
        "images": {"out_of_fold": len(per_image[0]), "test": len(all_read[0].together.keys)},
        "configs": [
            {
                "name": name,
                "runs": len(read.tested),
                "out_of_fold": _means(values),
                "folds": _each_fold(read),
                "test": {"single": _means(single), "together": _means(together)},
                "per_image": images,
            }
            for name, read, images, values, single, together in zip(
                names, all_read, per_image, out_of_fold, tested[::2], tested[1::2], strict=True
            )
        ],
        "differences": _differences(dict(zip(names, out_of_fold, strict=True))),
    }
    words = Words(lang)
    title = words("folds_title", n=summary["folds"])
    make_parent(out)
    with report_folder(out, summary) as write:
        write(render("folds.j2", {}, lang=lang, title=title, report=summary, t=words, tables=folds_tables))
    for sentence in folds_tables.verdict(summary, Words("en")):
        console.print(sentence)
    console.print(f"report: {out}/report.html")
    return summary


def _read(folder: Path) -> Read:
    """Reads the scores of the runs in a folder.

    Raises:
        UserError: some are missing or damaged, or the folds are not, or not any more, a division of the images.
    """
    runs = open_runs(folder)
    check_complete(folder, [run.config for run in runs])
    by_fold: dict[str, list[Scores]] = {fold: [] for fold in all_folds(len({run.config.data.fold for run in runs}))}
    for run in runs:
        by_fold[str(run.config.data.fold)].append(read_scores(run, FOLD))
    for scores in by_fold.values():
        check_same_images(scores, _AGAIN)
    counted = Counter(key for scores in by_fold.values() for key in scores[0].keys)
    if doubled := [key for key, times in counted.items() if times > 1]:
        raise UserError(
            f"{folder}: more than one fold has {first_of(doubled)}: images were added or "
            f"removed between the trainings; {_AGAIN}"
        )
    _check_division(folder, runs[0].config.data, by_fold)
    tested = [read_scores(run, SPLIT) for run in runs]
    together = read_folder(folder / "eval" / SPLIT, f"flowseg eval {folder}")
    check_same_images([*tested, together])
    return Read(folder, by_fold, tested, together)


def _each_fold(read: Read) -> list[dict[str, Any]]:
    """Returns the mean Dice of each fold, over all its images and seeds."""
    return [
        {"fold": k, "images": len(scores[0].keys), "dice": float(np.mean([one.metrics["dice"] for one in scores]))}
        for k, scores in enumerate(read.by_fold.values(), 1)
    ]


def _differences(configs: dict[str, dict[str, Values]]) -> list[dict[str, Any]]:
    """Returns the paired differences of every two configs, by name, over the images that their means are over.

    Only the metrics that the terminal shows are tested, so that few tests share the correction.
    """
    shown = [row.key for row in on_terminal() if all(row.key in values for values in configs.values())]
    return [
        asdict(test)
        for test in image_tests({name: {key: values[key] for key in shown} for name, values in configs.items()})
        if test.n
    ]


def check_complete(folder: Path, configs: Sequence[Config]) -> None:
    """Raises a UserError unless the runs of a folder, with these configs, are all folds for each seed."""
    folds = {config.data.fold for config in configs}
    if None in folds:
        raise UserError(f"{folder}: holds a run that is no fold of a cross-validation; remove it")
    count = int(str(next(iter(folds))).split("/")[1])
    there = {(config.seed, config.data.fold) for config in configs}
    for seed in sorted({config.seed for config in configs}):
        for k, fold in enumerate(all_folds(count), 1):
            if (seed, fold) not in there:
                remedy = "give the same command again, or remove that seed's runs"
                raise UserError(f"{folder}: lacks fold {k} of {count} with seed {seed}; {remedy}")


def _check_division(folder: Path, data: DataConfig, by_fold: dict[str, list[Scores]]) -> None:
    """Raises a UserError if the folds of the data set are not the images that the runs were scored on.

    Where the data set is not there any more, it cannot be compared, which is said.
    """
    root = root_of(data)
    if not root.is_dir():
        console.print(f"NOTE: {root}: no such folder; images that were added to it since the trainings go unnoticed")
        return
    for fold, scores in by_fold.items():
        now, then = {pair.key for pair in split_pairs(root, FOLD, fold)}, set(scores[0].keys)
        if now != then:
            new, gone = sorted(now - then), sorted(then - now)
            which = f"{first_of(new)} is new in it" if new else f"{first_of(gone)} is not in it any more"
            raise UserError(
                f"{folder}: fold {fold} of {root} is not what its run was scored on ({which}): images were added, "
                f"removed or renamed after the training; {_AGAIN}"
            )


def _per_image_out_of_fold(read: Read) -> PerImage:
    """Returns the metrics of all images out of fold."""
    return {key: values for scores in read.by_fold.values() for key, values in _per_image(scores).items()}


def _per_image(scores: Sequence[Scores]) -> PerImage:
    """Returns the metrics of each image, the means over several evaluations; None where one of them has no value."""
    names = [name for name in scores[0].metrics if all(name in one.metrics for one in scores)]
    found: PerImage = {}
    for key in scores[0].keys:
        values = {name: np.mean([one.metrics[name][one.keys.index(key)] for one in scores]) for name in names}
        found[key] = {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
    return found


def _common(columns: Sequence[PerImage]) -> list[dict[str, Values]]:
    """Returns the metrics of what stands side by side in a table, image by image in one order.

    A value is nan unless every column that has the metric has a value for the image, so that the means of a row are
    over the same images.
    """
    keys = sorted(columns[0])
    found: list[dict[str, Values]] = [
        {name: np.array([column[key][name] for key in keys], np.float64) for name in column[keys[0]]}
        for column in columns
    ]
    for name in {name for values in found for name in values}:
        having = [values for values in found if name in values]
        kept = np.isfinite([values[name] for values in having]).all(axis=0)
        for values in having:
            values[name] = np.where(kept, values[name], np.nan)
    return found


def _means(values: dict[str, Values]) -> dict[str, dict[str, Any] | None]:
    """Returns the mean of each metric over its finite values, with its bootstrap interval; None if there are none."""
    found = {name: image_mean(column) for name, column in values.items()}
    return {name: None if one is None else asdict(one) for name, one in found.items()}
