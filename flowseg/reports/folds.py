"""The report of a cross-validation: every image scored by the run that has not seen it, and the folds together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.data.folds import FOLD, all_folds
from flowseg.errors import UserError, first_of
from flowseg.evaluation.metric_table import on_terminal
from flowseg.progress import console
from flowseg.reports import folds_tables
from flowseg.reports.compare.differences import image_mean, image_tests
from flowseg.reports.compare.scores import SPLIT, Scores, Values, check_same_images, read_folder, read_scores
from flowseg.reports.compare.words import Language, Words
from flowseg.reports.folder import check_free, make_parent, report_folder
from flowseg.reports.pages import render
from flowseg.runs.ensemble import open_runs
from flowseg.runs.folder import Run

FOLDS_FORMAT = "flowseg-folds-1"
COMMAND = "flowseg experiment --folds"
"""What makes this report."""


def report_folds(folders: Sequence[Path], out: Path, lang: Language = "en") -> dict[str, Any]:
    """Writes report.html, report.md and report.json about cross-validated configs; returns the content of report.json.

    Args:
        folders: for each config the folder of its runs, all of which are finished, scored, and scored as one.
        out: the report's folder. An earlier report there is replaced.

    Raises:
        UserError: a run that is no fold or has no scores, a damaged file, or a folder that holds something else.
    """
    check_free(out, FOLDS_FORMAT, COMMAND)
    configs = [_config(folder) for folder in folders]
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


def _config(folder: Path) -> dict[str, Any]:
    """Returns what the report says of the runs in a folder."""
    runs = open_runs(folder)
    _check_complete(folder, runs)
    by_fold: dict[str, list[Scores]] = {}
    for run in runs:
        by_fold.setdefault(str(run.config.data.fold), []).append(read_scores(run, FOLD))
    names = all_folds(len(by_fold))
    for scores in by_fold.values():
        check_same_images(scores)
    counted = Counter(key for fold in names for key in by_fold[fold][0].keys)
    if doubled := [key for key, times in counted.items() if times > 1]:
        raise UserError(
            f"{folder}: {len(doubled)} images are in more than one fold ({first_of(doubled)}): images were added or "
            "removed between the trainings; train all folds again, into another folder"
        )
    images = {key: values for fold in names for key, values in _per_image(by_fold[fold]).items()}
    folds = [
        {"fold": k, "images": len(by_fold[fold][0].keys), "dice": _mean(by_fold[fold], "dice")}
        for k, fold in enumerate(names, 1)
    ]
    tested = [read_scores(run, SPLIT) for run in runs]
    together = read_folder(folder / "eval" / SPLIT, f"flowseg eval {folder}")
    check_same_images([*tested, together])
    single = _per_image(tested)
    return {
        "name": folder.resolve().name,
        "runs": len(runs),
        "out_of_fold": _means(images.values()),
        "folds": folds,
        "test": {"single": _means(single.values()), "together": _means(_per_image([together]).values())},
        "per_image": images,
    }


def _differences(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the paired differences of every two configs over the images out of fold, if they have the same images.

    Only the metrics that the terminal shows are tested, so that few tests share the correction.
    """
    keys = sorted(configs[0]["per_image"])
    if any(sorted(one["per_image"]) != keys for one in configs):
        return []
    shown = [row.key for row in on_terminal() if all(row.key in one["out_of_fold"] for one in configs)]
    groups = {
        one["name"]: {name: np.array([one["per_image"][key][name] for key in keys], np.float64) for name in shown}
        for one in configs
    }
    return [asdict(test) for test in image_tests(groups)]


def _check_complete(folder: Path, runs: Sequence[Run]) -> None:
    """Raises a UserError unless there is a run of every fold for each seed."""
    folds = {run.config.data.fold for run in runs}
    if None in folds:
        raise UserError(f"{folder}: holds a run that is no fold of a cross-validation; remove it")
    count = int(str(next(iter(folds))).split("/")[1])
    there = {(run.config.seed, run.config.data.fold) for run in runs}
    for seed in sorted({run.config.seed for run in runs}):
        for k, fold in enumerate(all_folds(count), 1):
            if (seed, fold) not in there:
                remedy = "give the same command again, or remove that seed's runs"
                raise UserError(f"{folder}: lacks fold {k} of {count} with seed {seed}; {remedy}")


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
