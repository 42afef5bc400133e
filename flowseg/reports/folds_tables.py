"""The tables of a cross-validation's report, each described once from what report.json holds."""

from typing import Any

from flowseg.evaluation.metric_table import metric
from flowseg.reports.compare.words import Words
from flowseg.reports.tables import Cell, Column, Table, estimate, number, small, table

Report = dict[str, Any]


def verdict(report: Report, t: Words) -> list[str]:
    """The mean Dice of each config, as sentences."""
    found = {one["name"]: one["out_of_fold"].get("dice") for one in report["configs"]}
    return [t("folds_verdict", name=name, **dice) for name, dice in found.items() if dice is not None]


def images(report: Report, t: Words) -> Table:
    """Every metric over all images out of fold."""
    columns = [(one["name"], one["out_of_fold"]) for one in report["configs"]]
    return _metrics(t, columns, report["images"]["out_of_fold"])


def test(report: Report, t: Words) -> Table:
    """Every metric over the test images, of single runs and of all runs together."""
    columns = []
    for one in report["configs"]:
        columns.append((t("folds_single", name=one["name"]), one["test"]["single"]))
        columns.append((t("folds_together", name=one["name"], n=one["runs"]), one["test"]["together"]))
    return _metrics(t, columns, report["images"]["test"])


def differences(report: Report, t: Words) -> Table:
    """The difference of every two configs in every metric that was tested, and whether it is more than chance."""
    return table(
        report["differences"],
        (t("metric"), lambda test: t.metric(test["metric"]) + t.arrow(test["metric"])),
        (Column(t("folds_pair"), "short"), lambda test: f"{test['b']} − {test['a']}"),
        (t("folds_difference"), lambda test: estimate(test, metric(test["metric"]).unit.decimals, True, t("to"))),
        (t("p_holm"), lambda test: small(test["p_holm"])),
        (t("images"), lambda test: str(test["n"])),
    )


def each_fold(report: Report, t: Words) -> Table:
    """The mean Dice of each fold, with the number of its images."""

    def dice(found: dict[str, Any]) -> Cell:
        return Cell(number(found["dice"], metric("dice").unit.decimals), f"n = {found['images']}")

    return table(
        range(report["folds"]),
        (t("fold"), lambda k: f"{k + 1}"),
        *((one["name"], lambda k, one=one: dice(one["folds"][k])) for one in report["configs"]),
    )


def _metrics(t: Words, columns: list[tuple[str, dict[str, Any]]], total: int) -> Table:
    """A row for each metric that the first column has; with their number, if its means are not over all images."""

    def label(key: str) -> Cell:
        mean = columns[0][1][key]
        n = 0 if mean is None else mean["n"]
        return Cell(t.metric(key) + t.arrow(key), "" if n == total else t("of_images", n=n))

    return table(
        columns[0][1],
        (t("metric"), label),
        *(
            (name, lambda key, means=means: estimate(means.get(key), metric(key).unit.decimals, to=t("to")))
            for name, means in columns
        ),
    )
