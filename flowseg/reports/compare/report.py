"""`flowseg compare`: from runs to a folder with report.html, report.md and report.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from flowseg.progress import console
from flowseg.reports.compare import gallery, tables
from flowseg.reports.compare.curves import SERIES, curve_plot, difference_plot, legend_mark
from flowseg.reports.compare.evidence import gather
from flowseg.reports.compare.sources import arrange
from flowseg.reports.compare.summary import FORMAT, summarize
from flowseg.reports.compare.words import Language, Words
from flowseg.reports.drawing import BROAD, NARROW, standalone
from flowseg.reports.folder import check_free, make_parent, report_folder
from flowseg.reports.pages import render, style


def compare_runs(
    runs: Sequence[str], out: Path, lang: Language = "en", early: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Compares runs and writes report.html (one file), report.md with plots/ and gallery/, and report.json.

    The runs are named as flowseg.reports.compare.sources.arrange takes them, and an earlier report in `out` is
    replaced. `early` is the first and last epoch of the early phase; None: the first epochs that all runs have.
    Returns the content of report.json (flowseg.reports.compare.summary.KEYS), whose sentences are in `lang` too.

    Raises:
        UserError: something is wrong with a run, its log or its scores, or the folder holds something else.
    """
    check_free(out, FORMAT, "flowseg compare")
    evidence = gather(arrange(runs), early)
    words = Words(lang)
    summary = summarize(evidence, words)
    pictures, strips, without_pictures = gallery.draw_gallery(evidence, summary)
    plots = Plots(summary, words)
    make_parent(out)
    with report_folder(out, summary) as write:
        write({f"plots/{field}.svg": plots.standalone(field, words(f"curve_{field}")) for field in plots.fields})
        write(strips)
        values = {
            "title": words("title", names=plots.groups),
            "pairs": list(dict.fromkeys((test["a"], test["b"]) for test in summary["tests"])),
            "metrics": list(dict.fromkeys(test["metric"] for test in summary["tests"])),
            "paths": {run["name"]: run["path"] for run in summary["runs"]},
            "without_pictures": without_pictures,
        }
        rooms = {"report": summary, "t": words, "tables": tables, "plots": plots, "gallery": gallery}
        write(render("compare.j2", pictures, script="compare.js", lang=lang, **rooms, **values))
    for line in summary["headline"]:
        console.print(line)
    console.print(f"report: {out}/report.html")
    return summary


class Plots:
    """The drawings of a page, each in a broad and a narrow form of which the page shows one."""

    SERIES = SERIES
    legend_mark = staticmethod(legend_mark)

    def __init__(self, summary: dict[str, Any], words: Words):
        self._runs, self._test, self._words = summary["runs"], summary["test"], words
        self.groups = [group["name"] for group in summary["groups"]]
        points = [point for run in self._runs for point in run["curve"]]
        self.fields = [field for field in ("dice", "loss") if any(point[field] is not None for point in points)]
        """What is drawn over epochs."""

    def curve(self, field: str, label: str) -> Markup:
        """Dice or loss of all runs."""
        return Markup("").join(
            curve_plot(self._runs, self.groups, field, frame, label, self._titles(field)) for frame in (BROAD, NARROW)
        )

    def standalone(self, field: str, label: str) -> str:
        """The same as an SVG file of its own."""
        drawn = curve_plot(self._runs, self.groups, field, BROAD, label, self._titles(field), legend=True)
        return standalone(drawn, style("plots.css"))

    def _titles(self, field: str) -> tuple[str, str]:
        return self._words("epoch"), self._words(f"axis_{field}")

    def differences(self, a: str, b: str, label: str) -> Markup:
        """The Dice of b minus that of a, image by image."""
        pairs = zip(*(self._test["per_image"][name]["dice"] for name in (b, a)), strict=True)
        values = [one - two if one is not None and two is not None else None for one, two in pairs]
        images = self._test["images"]
        titles = self._words("axis_images"), self._words("axis_difference")
        return Markup("").join(difference_plot(images, values, frame, label, titles) for frame in (BROAD, NARROW))
