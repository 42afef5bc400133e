"""The tables of the FiLM analysis, each described once from what report.json holds."""

from functools import partial
from typing import Any

from flowseg.evaluation.metric_table import metric
from flowseg.reports.tables import Cell, Described, Table, estimate, number, percent, small, table

Report = dict[str, Any]


def conditions(report: Report) -> Table:
    """Means of every measure under each condition."""

    def mean(measure: str, row: tuple[str, Any]) -> Cell:
        return _interval(measure, row[1]["mean"])

    return table(
        report["conditions"].items(),
        ("condition", lambda row: Cell(row[0], row[1]["about"])),
        *((metric(m).en, partial(mean, m)) for m in _measures(report)),
    )


def differences(report: Report) -> Table:
    """Own minus each other condition."""

    def p(measure: str, row: tuple[str, Any], name: str = "p") -> str:
        return small(row[1][measure][name])

    def difference(measure: str, row: tuple[str, Any]) -> Cell:
        return _interval(measure, row[1], sign=True)

    columns: list[Described] = []
    for m in _measures(report):
        columns.append((metric(m).en, partial(difference, m)))
        columns.append(("p", partial(p, m)))
        if m == "dice":
            columns.append(("p (Holm)", partial(p, m, name="p_holm")))
            columns.append(("images that differ", lambda row: "{changed} of {n}".format(**row[1]["dice"])))
    return table(report["differences"].items(), ("own minus", lambda row: row[0]), *columns)


def modulation(report: Report) -> Table:
    """How much of each stage's modulation depends on the image."""

    def value(part: str, name: str, row: dict[str, Any]) -> str:
        return percent(row[part][name]) if name == "share" else small(row[part][name])

    columns: list[Described] = []
    for part in ("gamma", "beta"):
        heads = {f"{part}: total": "total", "constant": "constant", "between images": "between", "share": "share"}
        columns += [(head, partial(value, part, name)) for head, name in heads.items()]
    return table(report["modulation"], ("stage", lambda row: str(row["stage"])), *columns)


def where(report: Report) -> Table:
    """Whether masks differ near junctions more than elsewhere."""
    return table(
        report["where"].items(),
        ("own against", lambda row: row[0]),
        ("pixels that differ", lambda row: number(row[1]["differing"], 0)),
        ("near junctions", lambda row: percent(row[1]["share_near"])),
        ("of all pixels", lambda row: percent(row[1]["all_near"])),
        ("ratio", lambda row: estimate(row[1]["enrichment_all"], 2)),
        ("in the vessel band", lambda row: percent(row[1]["share_band"])),
        ("of these near junctions", lambda row: percent(row[1]["share_near_of_band"])),
        ("of all band pixels", lambda row: percent(row[1]["band_near"])),
        ("ratio", lambda row: estimate(row[1]["enrichment_band"], 2)),
    )


def _measures(report: Report) -> list[str]:
    return list(report["conditions"]["own"]["mean"])


def _interval(measure: str, means: dict[str, Any], sign: bool = False) -> Cell:
    return estimate(means[measure], metric(measure).unit.decimals, sign)
