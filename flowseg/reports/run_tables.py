"""The tables of a run's report, each described once from what report.json holds and in the report's language."""

from typing import Any

from flowseg.evaluation.metric_table import metric
from flowseg.progress import duration
from flowseg.reports.compare.words import Words
from flowseg.reports.tables import Cell, Column, Table, estimate, number, table

Report = dict[str, Any]


def scores(report: Report, t: Words) -> Table:
    """Every metric of the run and, where it has it, of the classical reference."""
    test = report["test"]

    def mean(of: str, key: str) -> Cell:
        return estimate(test[of].get(key), metric(key).unit.decimals, to=t("to"))

    return table(
        test["means"],
        (t("metric"), lambda key: t.metric(key) + t.arrow(key)),
        (report["run"]["name"], lambda key: mean("means", key)),
        (t("frangi"), lambda key: mean("reference", key)),
        (t("images"), lambda key: str(test["means"][key]["n"])),
    )


def images(report: Report, t: Words) -> Table:
    """The metrics of every image, to be sorted."""
    shown = {case["image"]: f"case-{i}" for i, case in enumerate(report["gallery"], 1)}
    columns = report["test"]["per_image"]

    def score(key: str, i: int) -> Cell:
        return Cell(number(columns[key][i], metric(key).unit.decimals), sort=columns[key][i])

    names = report["test"]["images"]
    return table(
        range(len(names)),
        (t("image"), lambda i: Cell(names[i], link=shown.get(names[i], ""), sort=names[i])),
        *((t.metric(key), lambda i, key=key: score(key, i)) for key in columns),
        title=t("h_images"),
        folded=True,
        sortable=True,
    )


def film(report: Report, t: Words) -> Table:
    """How much FiLM changes the maps, and how much that depends on the image, for each decoder stage."""

    def value(name: str, row: dict[str, Any]) -> str:
        return number(row.get(name), 3)

    return table(
        report["film"],
        (t("stage"), lambda row: str(row["stage"])),
        *(
            (t(f"film_{name}"), lambda row, name=name: value(name, row))
            for name in ("gamma_mean", "gamma_change", "gamma_between", "beta_change", "beta_between")
        ),
    )


def settings(report: Report, t: Words) -> Table:
    """All settings of the run."""
    return table(
        report["settings"].items(),
        (t("setting"), lambda item: item[0]),
        (Column(t("value"), "short"), lambda item: "–" if item[1] is None else str(item[1])),
        title=t("all_settings"),
        folded=True,
    )


def starts(report: Report, t: Words) -> Table:
    """Where the run comes from, a row for each of its starts."""

    def took(start: dict[str, Any]) -> Cell:
        if start.get("seconds") is None:
            return Cell(t("killed"))
        return Cell(duration(start["seconds"]), t("of_processor", time=duration(start["processor_seconds"])))

    def software(start: dict[str, Any]) -> Cell:
        libraries = ", ".join(f"{name} {start[name]}" for name in ("python", "jax", "flax") if start.get(name))
        commit = f" ({start['commit']})" if start.get("commit") else ""
        return Cell(f"flowseg {start.get('flowseg', '')}{commit}", libraries)

    return table(
        report["starts"],
        (t("started"), lambda start: str(start.get("at", "–"))),
        (t("took"), took),
        (Column(t("command"), "long"), lambda start: str(start.get("command", "–"))),
        (Column(t("software"), "short"), software),
        (Column(t("machine"), "short"), lambda s: Cell(str(s.get("devices", "–")), str(s.get("processor", "")))),
    )
