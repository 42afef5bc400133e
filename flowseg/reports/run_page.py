"""`flowseg report`: one run on a page, as report.html, report.md and report.json."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.errors import UserError
from flowseg.evaluation.soft import CALIBRATION
from flowseg.progress import console
from flowseg.reports import run_tables
from flowseg.reports.calibration import calibration, calibration_plot
from flowseg.reports.compare import gallery
from flowseg.reports.compare.curves import curve_plot
from flowseg.reports.compare.differences import image_mean
from flowseg.reports.compare.pictures import Shown, read_pictures, read_probability
from flowseg.reports.compare.run_log import read_run_log
from flowseg.reports.compare.scores import REFERENCE, Scores, Values, read_scores
from flowseg.reports.compare.setups import parameters, settings
from flowseg.reports.compare.sources import Group
from flowseg.reports.compare.summary import course_of
from flowseg.reports.compare.words import Language, Words
from flowseg.reports.drawing import BROAD, NARROW, standalone
from flowseg.reports.folder import check_free, make_parent, report_folder
from flowseg.reports.pages import render, style
from flowseg.runs.folder import Run
from flowseg.runs.log import read_metrics
from flowseg.runs.provenance import read_starts

FORMAT = "flowseg-run-1"
PER_KIND = 2
"""Images of each kind in the gallery."""


def report_run(run: Run, out: Path | None = None, lang: Language = "en") -> dict[str, Any]:
    """Writes report.html (one file), report.md with plots/ and gallery/, and report.json about one run.

    The page has the test scores, learning curves, the best, median and worst test images, a calibration plot, FiLM's
    statistics, the settings, and where the run comes from. Returns the content of report.json. A run trained on SAUNA
    maps has no calibration (None): its maps are no probabilities.

    Args:
        out: the report's folder; None: RUN/report. An earlier report there is replaced.

    Raises:
        UserError: the run has no test scores, a file of it is damaged, or the folder holds something else.
    """
    if run.exported is not None:
        raise UserError(f"{run.path}: is an exported model; the scores of the run it came from are in README.md")
    folder = out or run.path / "report"
    check_free(folder, FORMAT, "flowseg report")
    words = Words(lang)
    scores = read_scores(run)
    lines = read_metrics(run.path)
    log = read_run_log(run, run.path.resolve().name, lines)
    cases = choose_cases(scores)
    shown = {case["image"]: found for case in cases if (found := read_pictures(scores, case["image"])) is not None}
    pixels = (maps for key in scores.keys if (maps := read_probability(scores, key)) is not None)
    group = Group(log.name, (log,))
    summary: dict[str, Any] = {
        "format": FORMAT,
        "lang": lang,
        "run": {"name": log.name, "group": log.name, "path": str(run.path), **course_of(log)},
        "parameters": parameters(group),
        "test": {
            "images": list(scores.keys),
            "inside": scores.inside,
            "means": _means(scores.metrics),
            "reference": _means(scores.reference),
            "per_image": {m: [None if np.isnan(v) else float(v) for v in vs] for m, vs in scores.metrics.items()},
            "about": {k: v for k, v in scores.about.items() if k not in ("model", "frangi")},
        },
        "gallery": cases,
        "calibration": None if group.sauna else calibration(pixels),
        "film": _film(lines),
        "settings": {"seed": run.config.seed, **settings(group)},
        "starts": read_starts(run.path),
    }
    _write(folder, summary, shown, words)
    console.print(f"report: {folder}/report.html")
    return summary


def choose_cases(scores: Scores) -> list[dict[str, Any]]:
    """Returns the test images with the best, the middle and the worst Dice; an image is there once.

    Ties keep the order of the images, and images without a Dice are left out.
    """
    dice = scores.metrics.get("dice", np.full(len(scores.keys), np.nan))
    order = [int(i) for i in np.argsort(-dice, kind="stable") if not np.isnan(dice[i])]
    middle = max(0, (len(order) - PER_KIND) // 2)
    kinds: dict[int, list[str]] = {}
    for kind, chosen in (
        ("best", order[:PER_KIND]),
        ("median", order[middle : middle + PER_KIND]),
        ("worst", order[::-1][:PER_KIND]),
    ):
        for i in chosen:
            kinds.setdefault(i, []).append(kind)
    return [
        {"image": scores.keys[i], "kinds": found, "dice": {"": float(dice[i])}, "pictures": None}
        for i, found in kinds.items()
    ]


def _means(columns: dict[str, Values]) -> dict[str, dict[str, Any]]:
    """The mean of each metric over the images that have it, with its bootstrap interval."""
    found = {name.removeprefix(REFERENCE): image_mean(values) for name, values in columns.items()}
    return {name: asdict(one) for name, one in found.items() if one is not None}


def _film(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """FiLM's statistics at the last validation, a row for each decoder stage; none without FiLM."""
    film = [line for line in lines if line["kind"] == "film"]
    return [line for line in film if line["step"] == film[-1]["step"]]


def _write(folder: Path, summary: dict[str, Any], shown: dict[str, Shown], words: Words) -> None:
    """Draws the pictures and writes the report."""
    name = summary["run"]["name"]
    pictures: dict[str, bytes] = {}
    files: dict[str, bytes | str] = {}
    for number, case in enumerate(summary["gallery"], 1):
        if case["image"] in shown:
            file = f"gallery/{number}.webp"
            placed, drawn, files[file] = gallery.draw_case(number, {name: shown[case["image"]]}, {name: name})
            case["pictures"] = {**placed, "file": file}
            pictures |= drawn
    plots = {}
    for field in ("dice", "loss"):
        titles = words("epoch"), words(f"axis_{field}")
        parts = [
            curve_plot([summary["run"]], [name], field, f, words(f"curve_{field}"), titles) for f in (BROAD, NARROW)
        ]
        plots[field] = parts[0] + parts[1]
        if parts[0]:
            files[f"plots/{field}.svg"] = standalone(parts[0], style("plots.css"))
    if summary["calibration"]:
        titles = words("axis_predicted"), words("axis_vessel")
        plots["calibration"] = calibration_plot(summary["calibration"], words("h_calibration"), titles)
        files["plots/calibration.svg"] = standalone(plots["calibration"], style("plots.css"))
    make_parent(folder)
    with report_folder(folder, summary) as write:
        write(files)
        rooms = {
            "report": summary,
            "t": words,
            "tables": run_tables,
            "plots": plots,
            "gallery": gallery,
            "misread": CALIBRATION,
        }
        write(render("run.j2", pictures, script="compare.js", lang=words.language, title=name, **rooms))
