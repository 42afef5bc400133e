"""`flowseg compare`: from runs to a folder with report.html, report.md and report.json."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from flowseg.evaluation.metrics import LOWER_IS_BETTER
from flowseg.evaluation.overlays import strip
from flowseg.progress import console
from flowseg.reports.compare.curves import BROAD, NARROW, SERIES, curve_plot, difference_plot, legend_mark, standalone
from flowseg.reports.compare.differences import HIGHER_IS_BETTER
from flowseg.reports.compare.evidence import Evidence, gather
from flowseg.reports.compare.judgements import TEST
from flowseg.reports.compare.pictures import VIEWS, Colour, Shown, difference_picture, encode, read_pictures
from flowseg.reports.compare.sources import arrange
from flowseg.reports.compare.summary import FORMAT, summarize
from flowseg.reports.compare.words import Language, Words
from flowseg.reports.folder import JSON_FILE, check_free, make_parent, report_folder
from flowseg.reports.pages import render

_TEMPLATES = {"report.html": "compare.html.j2", "report.md": "compare.md.j2"}
_STRIP = 288  # height of a gallery strip's panels in report.md, pixels
_COARSE = frozenset({"betti0_error", "betti1_error", "hd95", "assd"})  # shown with two decimals: counts and pixels


def compare_runs(
    runs: Sequence[str], out: Path, lang: Language = "en", early: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Compares runs and writes report.html (one file), report.md with plots/ and gallery/, and report.json.

    Args:
        runs: as flowseg.reports.compare.sources.arrange takes them.
        out: the report's folder. An earlier report there is replaced; either the whole folder is written or nothing.
        lang: the language of all sentences, those of report.json included.
        early: first and last epoch of the early phase; None: the first epochs that all runs have.

    Returns:
        What report.json holds (flowseg.reports.compare.summary.KEYS).

    Raises:
        UserError: whatever is wrong with a run, its log or its scores, or a folder that holds something else.
    """
    check_free(out, FORMAT, "flowseg compare")
    evidence = gather(arrange(runs), early)
    words = Words(lang)
    summary = summarize(evidence, words)
    pictures, strips, from_overlays = draw_gallery(evidence, summary)
    make_parent(out)
    with report_folder(out) as part:
        plots = _write_plots(part, summary, words)
        for name, picture in strips.items():
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_bytes(picture)
        (part / JSON_FILE).write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for file, template in _TEMPLATES.items():
            page = render(
                template,
                pictures=pictures,
                report=summary,
                t=words,
                plot=Plots(summary),
                plot_files=plots,
                pairs=_pairs(summary),
                groups_tested=list(summary["test"]["per_image"]) if summary["test"] else [],
                shown={case["image"]: i + 1 for i, case in enumerate(summary["gallery"])},
                from_overlays=from_overlays,
                digits_of=lambda metric: 2 if metric in _COARSE else 4,
                direction_of=direction_of,
                item_of=lambda item: item_name(item, words),
            )
            (part / file).write_text(page, encoding="utf-8")
    for line in summary["headline"]:
        console.print(line, markup=False)
    console.print(f"report: {out}/report.html", markup=False)
    return summary


class Plots:
    """The drawings of a page, each in a broad and a narrow form of which the page shows one."""

    SERIES = SERIES
    legend_mark = staticmethod(legend_mark)

    def __init__(self, summary: dict[str, Any]):
        self._runs, self._test = summary["runs"], summary["test"]
        self._groups = [group["name"] for group in summary["groups"]]

    def curve(self, field: str, label: str) -> Markup:
        """Dice or loss of all runs."""
        return Markup("").join(curve_plot(self._runs, self._groups, field, frame, label) for frame in (BROAD, NARROW))

    def differences(self, name: str, label: str) -> Markup:
        """A group's Dice minus the first group's, image by image."""
        first, *_ = self._test["per_image"].values()
        pairs = zip(self._test["per_image"][name]["dice"], first["dice"], strict=True)
        values = [b - a if a is not None and b is not None else None for b, a in pairs]
        images = self._test["images"]
        return Markup("").join(difference_plot(images, values, frame, label) for frame in (BROAD, NARROW))


def direction_of(metric: str) -> str:
    """higher, lower or unknown: which is better."""
    return "lower" if metric in LOWER_IS_BETTER else "higher" if metric in HIGHER_IS_BETTER else "unknown"


def item_name(item: str, words: Words) -> str:
    """An item of the table of winners, in words."""
    if item.startswith(TEST):
        return words("item_test", metric=item.removeprefix(TEST))
    return words(f"item_{item}")


def draw_gallery(evidence: Evidence, summary: dict[str, Any]) -> tuple[dict[str, bytes], dict[str, bytes], list[str]]:
    """Pictures of the gallery's images; fills in each case's `pictures` in the summary.

    Returns:
        Pictures of the page by name, strips of report.md by file name, and the groups without maps of probability.
    """
    pictures: dict[str, bytes] = {}
    strips: dict[str, bytes] = {}
    bare: dict[str, None] = {}
    if evidence.on_test is None:
        return pictures, strips, []
    for number, case in enumerate(summary["gallery"], 1):
        found = {name: read_pictures(scores, case["image"]) for name, scores in evidence.on_test.first.items()}
        shown = {name: one for name, one in found.items() if one is not None}
        if len(shown) < len(found):
            continue
        bare |= dict.fromkeys(name for name, one in shown.items() if "probability" not in one.views)
        first, *others = shown
        differences = [(first, other, difference_picture(shown[first], shown[other])) for other in others]
        panes = []
        for i, (name, one) in enumerate(shown.items()):
            views = {}
            for view, picture in one.views.items():
                views[view] = f"{number}-{i}-{view}"
                pictures[views[view]] = encode(picture, exact=view == "mask")
            run = next(group.logs[0].name for group in evidence.groups if group.name == name)
            panes.append({"group": name, "run": run, "views": views})
        for i, (_, _, picture) in enumerate(differences):
            pictures[f"{number}-difference-{i}"] = encode(picture)
        case["pictures"] = {
            "views": [view for view in VIEWS if any(view in one.views for one in shown.values())],
            "panes": panes,
            "differences": [
                {"a": a, "b": b, "picture": f"{number}-difference-{i}"} for i, (a, b, _) in enumerate(differences)
            ],
            "file": f"gallery/{number}.webp",
        }
        strips[f"gallery/{number}.webp"] = _strip(shown[first], shown, [picture for _, _, picture in differences])
    return pictures, strips, list(bare)


def _strip(first: Shown, shown: dict[str, Shown], differences: Sequence[Colour]) -> bytes:
    """Image, mask, each prediction and each difference side by side."""
    panels = [first.views["image"], first.views["mask"], *(one.views["prediction"] for one in shown.values())]
    height, width = first.image.shape
    size = (max(1, round(width * _STRIP / height)), _STRIP)
    fitted = [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA)) for p in (*panels, *differences)]
    return encode(strip(fitted), largest=None)


def _write_plots(folder: Path, summary: dict[str, Any], words: Words) -> list[str]:
    """Learning curves as files, for report.md; returns which there are."""
    (folder / "plots").mkdir()
    groups = [group["name"] for group in summary["groups"]]
    style = render("compare_plots.css", pictures={})
    written = []
    for field in ("dice", "loss"):
        drawn = curve_plot(summary["runs"], groups, field, BROAD, words(f"curve_{field}"), legend=True)
        if drawn:
            (folder / "plots" / f"{field}.svg").write_text(standalone(drawn, style), encoding="utf-8")
            written.append(field)
    return written


def _pairs(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Each two groups, and whether seeds were compared."""
    names = [group["name"] for group in summary["groups"]]
    return [
        {"a": a, "b": b, "seeds": any((s["a"], s["b"]) == (a, b) for s in summary["seed_tests"])}
        for a, b in combinations(names, 2)
    ]
