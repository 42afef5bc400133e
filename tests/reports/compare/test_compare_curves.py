"""Groups in a drawing of curves can be told apart."""

import re

from flowseg.reports.compare.curves import SERIES, legend_mark
from flowseg.reports.pages import style


def test_no_two_groups_differ_by_colour_alone() -> None:
    """They differ by their mark, or by their line, for readers who do not see the colours."""
    drawn = {re.sub(r"\bs\d\b", "", legend_mark(series)) for series in range(SERIES)}
    assert len(drawn) == SERIES
    assert ".dashed { stroke-dasharray" in style("plots.css")
