"""The report of a cross-validation: every image scored by the run that has not seen it, and the folds together."""

from collections import Counter
from collections.abc import Iterable, Sequence
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
    configs = [_config(read) for read in all_read]
    summary = {
        "format": FOLDS_FORMAT,
        "lang": lang,
        "folds": len(configs[0]["folds"]),
        "configs": configs,
        "differences": _differences(configs),
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
            f"{folder}: {len(doubled)} images are in more than one fold ({first_of(doubled)}): images were added or "
            f"removed between the trainings; {_AGAIN}"
        )
    _check_division(folder, runs[0].config.data, by_fold)
    tested = [read_scores(run, SPLIT) for run in runs]
    together = read_folder(folder / "eval" / SPLIT, f"flowseg eval {folder}")
    check_same_images([*tested, together])
    return Read(folder, by_fold, tested, together)


def _config(read: Read) -> dict[str, Any]:
    """Returns what the report says of a config."""
    images = {key: values for scores in read.by_fold.values() for key, values in _per_image(scores).items()}
    folds = [
        {"fold": k, "images": len(scores[0].keys), "dice": _mean(scores, "dice")}
        for k, scores in enumerate(read.by_fold.values(), 1)
    ]
    single, together = (_means(_per_image(scores).values()) for scores in (read.tested, [read.together]))
    return {
        "name": read.folder.resolve().name,
        "runs": len(read.tested),
        "out_of_fold": _means(images.values()),
        "folds": folds,
        "test": {"single": single, "together": together},
        "per_image": images,
    }


def _differences(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the paired differences of every two configs over the images out of fold, which are the same for all.

    Only the metrics that the terminal shows are tested, so that few tests share the correction.
    """
    keys = sorted(configs[0]["per_image"])
    shown = [row.key for row in on_terminal() if all(row.key in one["out_of_fold"] for one in configs)]
    groups = {
        one["name"]: {name: np.array([one["per_image"][key][name] for key in keys], np.float64) for name in shown}
        for one in configs
    }
    return [asdict(test) for test in image_tests(groups)]


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


def _per_image(scores: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """Returns the metrics of each image, the means over several evaluations; None where one of them has no value."""
    names = [name for name in scores[0].metrics if all(name in one.metrics for one in scores)]
    found: dict[str, dict[str, float | None]] = {}
    for key in scores[0].keys:
        values = {name: np.mean([one.metrics[name][one.keys.index(key)] for one in scores]) for name in names}
        found[key] = {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
    return found


def _mean(scores: Sequence[Scores], name: str) -> float:
    return float(np.mean([one.metrics[name] for one in scores]))


def _means(images: Iterable[dict[str, float | None]]) -> dict[str, Any]:
    """Returns the mean of each metric over the images that have it, with its bootstrap interval."""
    rows = list(images)
    columns: dict[str, Values] = {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}
    found = {name: image_mean(values) for name, values in columns.items()}
    return {name: asdict(one) for name, one in found.items() if one is not None}
