"""The tables of the FiLM analysis, each described once from what report.json holds."""

from functools import partial
from typing import Any

from flowseg.evaluation.metric_table import metric
from flowseg.reports.compare.words import Words
from flowseg.reports.tables import Cell, Described, Table, estimate, number, percent, small, table

Report = dict[str, Any]


def conditions(report: Report, t: Words) -> Table:
    """Means of every measure under each condition."""

    def mean(measure: str, row: tuple[str, Any]) -> Cell:
        return _interval(measure, row[1]["mean"], t)

    return table(
        report["conditions"].items(),
        (t("film_condition"), lambda row: Cell(row[0], row[1]["about"])),
        *((t.metric(m), partial(mean, m)) for m in _measures(report)),
    )


def differences(report: Report, t: Words) -> Table:
    """Own minus each other condition."""

    def p(measure: str, row: tuple[str, Any], name: str = "p") -> str:
        return small(row[1][measure][name])

    def difference(measure: str, row: tuple[str, Any]) -> Cell:
        return _interval(measure, row[1], t, sign=True)

    columns: list[Described] = []
    for m in _measures(report):
        columns.append((t.metric(m), partial(difference, m)))
        columns.append(("p", partial(p, m)))
        if m == "dice":
            columns.append((t("p_holm"), partial(p, m, name="p_holm")))
            columns.append((t("film_changed"), lambda row: t("film_of", **row[1]["dice"])))
    return table(report["differences"].items(), (t("film_minus"), lambda row: row[0]), *columns)


def modulation(report: Report, t: Words) -> Table:
    """How much of each stage's modulation depends on the image."""

    def value(part: str, name: str, row: dict[str, Any]) -> str:
        return percent(row[part][name]) if name == "share" else small(row[part][name])

    columns: list[Described] = []
    for part in ("gamma", "beta"):
        heads = {"total": t("film_total", part=part), "constant": t("film_constant")}
        heads |= {"between": t("film_between"), "share": t("film_share")}
        columns += [(head, partial(value, part, name)) for name, head in heads.items()]
    return table(report["modulation"], (t("stage"), lambda row: str(row["stage"])), *columns)


def where(report: Report, t: Words) -> Table:
    """Whether masks differ near junctions more than elsewhere."""
    return table(
        report["where"].items(),
        (t("film_against"), lambda row: row[0]),
        (t("film_differing"), lambda row: number(row[1]["differing"], 0)),
        (t("film_near"), lambda row: percent(row[1]["share_near"])),
        (t("film_all"), lambda row: percent(row[1]["all_near"])),
        (t("film_ratio"), lambda row: estimate(row[1]["enrichment_all"], 2, to=t("to"))),
        (t("film_band"), lambda row: percent(row[1]["share_band"])),
        (t("film_band_near"), lambda row: percent(row[1]["share_near_of_band"])),
        (t("film_band_all"), lambda row: percent(row[1]["band_near"])),
        (t("film_ratio"), lambda row: estimate(row[1]["enrichment_band"], 2, to=t("to"))),
    )


def _measures(report: Report) -> list[str]:
    return list(report["conditions"]["own"]["mean"])


def _interval(measure: str, means: dict[str, Any], t: Words, sign: bool = False) -> Cell:
    return estimate(means[measure], metric(measure).unit.decimals, sign, to=t("to"))
