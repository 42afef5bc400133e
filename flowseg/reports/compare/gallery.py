"""The gallery of a report: the pictures of its cases, and what is said of each."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from flowseg.evaluation.overlays import strip
from flowseg.reports.compare.evidence import Evidence
from flowseg.reports.compare.pictures import MAX_SIDE, VIEWS, Colour, Shown, difference_picture, read_pictures
from flowseg.reports.compare.words import Words
from flowseg.reports.tables import number
from flowseg.reports.webp import encode

_STRIP = 288  # height of a strip's panels in report.md, pixels

Pictures = dict[str, bytes]
"""WebP files by name."""


def draw_gallery(evidence: Evidence, summary: dict[str, Any]) -> tuple[Pictures, Pictures, list[str]]:
    """Draws the gallery's pictures and fills in each case's `pictures` in the summary.

    A case has pictures if all evaluations have them: they are shown to be compared. Returns the pictures of the HTML
    by name, the strips of the Markdown by file name, and the groups whose evaluations lack pictures.
    """
    pictures: Pictures = {}
    strips: Pictures = {}
    without: dict[str, None] = {}
    runs = {group.name: group.logs[0].name for group in evidence.groups}
    for number_of_case, case in enumerate(summary["gallery"], 1):
        assert evidence.on_test is not None
        found = {name: read_pictures(scores, case["image"]) for name, scores in evidence.on_test.first.items()}
        shown = {name: one for name, one in found.items() if one is not None}
        if len(shown) < len(found):
            without |= dict.fromkeys(found.keys() - shown.keys())
            continue
        file = f"gallery/{number_of_case}.webp"
        case["pictures"], drawn, strips[file] = draw_case(number_of_case, shown, runs)
        case["pictures"]["file"] = file
        pictures |= drawn
    return pictures, strips, [name for name in runs if name in without]


def draw_case(
    number_of_case: int, shown: dict[str, Shown], runs: dict[str, str]
) -> tuple[dict[str, Any], Pictures, bytes]:
    """Draws one image as every group sees it, and how each later group differs from the first.

    Args:
        number_of_case: what the pictures' names begin with.
        shown: by group.
        runs: the run of each group whose pictures these are.

    Returns:
        what the page needs to place the pictures, the pictures by name, and the strip of the Markdown.
    """
    pictures: Pictures = {}
    panes = []
    for i, (name, one) in enumerate(shown.items()):
        views = {view: f"{number_of_case}-{i}-{view}" for view in one.views}
        pictures |= {views[view]: encode(drawn, view == "mask", MAX_SIDE) for view, drawn in one.views.items()}
        panes.append({"group": name, "run": runs[name], "views": views})
    first, *others = shown
    differences = [difference_picture(shown[first], shown[other]) for other in others]
    names = [f"{number_of_case}-difference-{i}" for i in range(len(others))]
    pictures |= {name: encode(picture, largest=MAX_SIDE) for name, picture in zip(names, differences, strict=True)}
    placed = {
        "views": [view for view in VIEWS if any(view in one.views for one in shown.values())],
        "panes": panes,
        "differences": [{"a": first, "b": b, "picture": p} for b, p in zip(others, names, strict=True)],
    }
    return placed, pictures, _strip(list(shown.values()), differences)


def dice_of(case: dict[str, Any]) -> str:
    """Every group's Dice of a case; that of a single run has no name."""
    return f"Dice: {', '.join(f'{name} {number(value)}'.lstrip() for name, value in case['dice'].items())}"


def tags(case: dict[str, Any], words: Words) -> list[str]:
    """Why a case is shown: each reason once. Of three groups or more it names the one that improved or worsened."""
    reasons = [words(f"kind_{kind}") for kind in case["kinds"]]
    if len(case["dice"]) > 2:
        reasons[: len(case["against"])] = [f"{a}: {b}" for a, b in zip(reasons, case["against"], strict=False)]
    return list(dict.fromkeys(reasons))


def about(case: dict[str, Any], words: Words) -> str:
    """Why a case is shown, and its scores, in one line."""
    return f"({', '.join(tags(case, words))}). {dice_of(case)}"


def _strip(shown: Sequence[Shown], differences: Sequence[Colour]) -> bytes:
    """Image, mask, each prediction and each difference side by side."""
    panels = [shown[0].views["image"], shown[0].views["mask"], *(one.views["prediction"] for one in shown)]
    height, width = shown[0].image.shape
    size = (max(1, round(width * _STRIP / height)), _STRIP)
    fitted = [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA)) for p in (*panels, *differences)]
    return encode(strip(fitted))
