"""The table of all metrics: everything that the terminal, the files, the reports and the docs say about them.

To add a metric, write the function that computes it, add its row here and a test, and bring the pages up to date:

    python -m flowseg.evaluation.metric_table README.md docs/evaluation.md
"""

import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowseg.evaluation.arrays import Mask, Probability
from flowseg.evaluation.overlap import density_metrics, overlap_metrics
from flowseg.evaluation.soft import BINS, soft_metrics
from flowseg.evaluation.surface import surface_metrics
from flowseg.evaluation.topology import topology_metrics
from flowseg.evaluation.uncertainty import AUROC, EXPECTED_ERROR

Values = Mapping[str, float | None]
"""Metrics of one image by key; None for one that does not exist for this image."""


@dataclass(frozen=True)
class Unit:
    """What a metric is counted in, and how its values are shown."""

    name: str
    largest: int | None
    """The largest possible value; None if there is no bound. The smallest is always 0."""
    decimals: int
    """Decimals in reports."""
    on_terminal: tuple[int, int]
    """Decimals on the terminal: of a mean, and of the ends of its interval."""


SHARE = Unit("share", largest=1, decimals=4, on_terminal=(4, 3))
PIXELS = Unit("pixels", largest=None, decimals=2, on_terminal=(1, 1))
COUNT = Unit("count", largest=None, decimals=2, on_terminal=(1, 1))


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    key: str
    """The name of its column in per_image.csv, and its key in metrics.json."""
    en: str
    ko: str
    better: Literal["higher", "lower"] | None = None
    """Which values are better; None if the values of two methods cannot be ranked."""
    unit: Unit = SHARE
    of_masks: Callable[[Mask, Mask], Values] | None = None
    """The function that computes it, and others beside it, from a predicted and a true mask."""
    of_probability: Callable[[Probability, Mask], Values] | None = None
    """The same from a map of probabilities and a true mask."""
    terminal: int | None = None
    """Its place in the table on the terminal; None if only the files show it."""
    definition: str = ""
    if_empty: str = ""
    """Values if both masks are empty; if only the true one is; if only the predicted one is."""
    source: str = ""

    def name(self, language: Literal["en", "ko"]) -> str:
        """The words for it in a report."""
        return self.en if language == "en" else self.ko


# P is the predicted mask, T the true one.
# fmt: off
IMAGE_METRICS = (
    Metric("dice", "Dice", "Dice", "higher", SHARE, overlap_metrics, terminal=1,
           definition="2 |P∩T| / (|P| + |T|)", if_empty="1; 0; 0", source="Dice, Ecology 1945; also called F1"),
    Metric("iou", "IoU", "IoU", "higher", SHARE, overlap_metrics,
           definition="|P∩T| / |P∪T| = dice / (2 - dice)", if_empty="1; 0; 0", source="Jaccard, New Phytologist 1912"),
    Metric("precision", "precision", "정밀도", "higher", SHARE, overlap_metrics, terminal=3,
           definition="|P∩T| / |P|", if_empty="1; 0; 0"),
    Metric("recall", "recall", "재현율", "higher", SHARE, overlap_metrics, terminal=4,
           definition="|P∩T| / |T|", if_empty="1; 1; 0"),
    Metric("specificity", "specificity", "특이도", "higher", SHARE, overlap_metrics,
           definition="share of the background outside P; 1 if there is no background", if_empty="1; as defined; 1"),
    Metric("cldice", "clDice", "clDice", "higher", SHARE, topology_metrics, terminal=2,
           definition="harmonic mean of two shares: of P's skeleton in T, and of T's skeleton in P; skeletons by the "
           "method of Zhang and Suen", if_empty="1; 0; 0", source="Shit et al., CVPR 2021, arXiv:2003.07311"),
    Metric("betti0_error", "Betti-0 error", "Betti-0 오차", "lower", COUNT, topology_metrics, terminal=7,
           definition="difference of the numbers of connected components; pixels that touch at an edge or a corner "
           "are connected (8-connectivity)", if_empty="0; components of P; components of T",
           source="Hu et al., NeurIPS 2019, arXiv:1906.05404, who average it over patches"),
    Metric("betti1_error", "Betti-1 error", "Betti-1 오차", "lower", COUNT, topology_metrics, terminal=8,
           definition="difference of the numbers of holes: parts of the background, connected at edges "
           "(4-connectivity), that do not reach the image's border", if_empty="0; holes of P; holes of T",
           source="Hu et al., NeurIPS 2019, arXiv:1906.05404, who average it over patches"),
    Metric("hd95", "HD95", "HD95", "lower", PIXELS, surface_metrics, terminal=6,
           definition="95th percentile of the distances from one mask's surface to the other's; the larger of the "
           "two directions", if_empty="0; none; none", source="Huttenlocher et al., IEEE TPAMI 1993; Metrics "
           "Reloaded: Maier-Hein, Reinke et al., Nature Methods 2024"),
    Metric("assd", "average surface distance", "평균 표면 거리", "lower", PIXELS, surface_metrics,
           definition="mean distance of the surface pixels of both masks to the other's surface",
           if_empty="0; none; none", source="Heimann et al., IEEE TMI 2009"),
    Metric("surface_dice_1", "surface Dice, 1 px", "표면 Dice(1 px)", "higher", SHARE, surface_metrics, terminal=5,
           definition="share of both surfaces that lies within 1 pixel of the other surface", if_empty="1; 0; 0",
           source="Nikolov et al., JMIR 2021"),
    Metric("surface_dice_2", "surface Dice, 2 px", "표면 Dice(2 px)", "higher", SHARE, surface_metrics,
           definition="share of both surfaces that lies within 2 pixels of the other surface", if_empty="1; 0; 0",
           source="Nikolov et al., JMIR 2021"),
    Metric("density_error", "vessel density error", "혈관 밀도 오차", "lower", SHARE, density_metrics,
           definition="|share of the image in P - share in T|", if_empty="0; as defined; as defined",
           source="vessel area density: Chu et al., J. Biomed. Opt. 2016"),
    Metric("auc", "AUC", "AUC", "higher", SHARE, of_probability=soft_metrics, terminal=9,
           definition="the chance that a vessel pixel has a higher probability than a background pixel (a tie counts "
           "half); guessing gives 0.5", if_empty="none if T is empty or full",
           source="Hanley and McNeil, Radiology 1982"),
    Metric("average_precision", "average precision", "평균 정밀도(AP)", "higher", SHARE, of_probability=soft_metrics,
           definition="mean over vessel pixels of the precision with their probability as the threshold; guessing "
           "gives the share of vessels", if_empty="none if T is empty", source="as scikit-learn"),
    Metric("ece", "ECE", "ECE", "lower", SHARE, of_probability=soft_metrics, terminal=10,
           definition=f"|mean probability - share of vessels| in each of {BINS} equal bins of the probability, "
           "averaged over pixels", if_empty="as defined",
           source=f"Naeini et al., AAAI 2015; {BINS} bins: Guo et al., ICML 2017"),
    Metric("brier", "Brier score", "Brier 점수", "lower", SHARE, of_probability=soft_metrics,
           definition="mean of (probability - truth)²", if_empty="as defined",
           source="Brier, Monthly Weather Review 1950"),
)
# fmt: on
"""The metrics of `flowseg.evaluation.metrics.image_metrics`, in the order of the columns."""

IN_PLACE = (topology_metrics, surface_metrics)
"""The functions of masks that need pixels where they lie: with a field of view they get masks that are empty outside.
All others get the pixels inside as one row."""

MASK_METRICS = tuple(row for row in IMAGE_METRICS if row.of_masks is not None)
"""Those of a mask, which need no probability."""

OTHER_COLUMNS = (
    Metric(AUROC, "AUROC of the uncertainty", "불확실성의 AUROC", "higher", terminal=11),
    Metric(EXPECTED_ERROR, "expected error", "예상 오차"),  # an estimate without the truth ranks nothing
    Metric("best_validation_dice", "best validation Dice", "최고 검증 Dice", "higher"),
)
"""Other figures that tables show beside the metrics."""

_ROWS = {row.key: row for row in (*IMAGE_METRICS, *OTHER_COLUMNS)}


def metric(key: str) -> Metric:
    """The row of a column. A column of another tool, unknown here, is called by its key and has no better values."""
    return _ROWS.get(key) or Metric(key, key, key)


def is_better(key: str, a: float, b: float) -> bool:
    """Whether the value a is better than b; False if they are equal or cannot be ranked."""
    better = metric(key).better
    return a > b if better == "higher" else a < b if better == "lower" else False


def on_terminal() -> list[Metric]:
    """The rows of the table on the terminal, in its order: the few that say most."""
    placed = [(row.terminal, row) for row in _ROWS.values() if row.terminal is not None]
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def _range(row: Metric) -> str:
    largest = "up" if row.unit.largest is None else f"to {row.unit.largest}"
    return f"**0** {largest}" if row.better == "lower" else f"0 {largest.replace('1', '**1**')}"


def markdown() -> dict[str, str]:
    """The generated parts of the pages, by name: the `table` of docs/evaluation.md, the README's `list`."""
    cells = [("name", "definition", "range, best", "both masks empty; T empty; P empty", "source"), ("---",) * 5]
    cells += [(f"`{row.key}`", row.definition, _range(row), row.if_empty, row.source) for row in IMAGE_METRICS]
    table = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in cells]
    names = ", ".join(row.en.replace(",", " at") for row in IMAGE_METRICS)
    listed = textwrap.fill(f"{len(IMAGE_METRICS)} metrics per image: {names}.", 119, break_on_hyphens=False)
    return {"table": "\n".join(table), "list": listed}


def with_metrics(page: str) -> str:
    """The page with its generated parts up to date, each between <!-- metrics: NAME --> and <!-- end -->."""
    for name, part in markdown().items():
        start, end = f"<!-- metrics: {name} -->\n", "\n<!-- end -->"
        if start in page:
            before, after = page.split(start)
            page = before + start + part + end + after.split(end, 1)[1]
    return page


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sys.exit(__doc__)):
        path.write_text(with_metrics(path.read_text(encoding="utf-8")), encoding="utf-8")
