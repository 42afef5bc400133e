"""The tables of a comparison, each described once from what report.json holds and in the report's language."""

from functools import partial
from typing import Any

from flowseg.evaluation.metric_table import metric
from flowseg.reports.compare.words import Words
from flowseg.reports.tables import Cell, Column, Described, Table, estimate, number, signed, small, table

Report = dict[str, Any]

_OPEN = 12  # windows up to which a run's table of them is open at first


def set_ups(report: Report, t: Words) -> Table:
    """Seeds and numbers of parameters."""

    def count(part: str, group: dict[str, Any]) -> str:
        return f"{group['parameters'][part]:,}" if group["parameters"] else "–"

    return table(
        report["groups"],
        (t("set_up"), lambda group: group["name"]),
        (t("seeds"), lambda group: ", ".join(map(str, group["seeds"])) or "–"),
        (t("parameters"), partial(count, "total")),
        (t("base"), partial(count, "base")),
        (t("conditioner"), partial(count, "conditioner")),
        (t("film_heads"), partial(count, "film_heads")),
    )


def differing(rows: list[dict[str, Any]], t: Words) -> Table:
    """The settings in which set-ups or their evaluations differ."""

    def value(name: str, row: dict[str, Any]) -> str:
        found = row["values"][name]
        return "–" if found is None else str(found)

    names = rows[0]["values"]
    return table(
        rows,
        (t("setting"), lambda row: row["field"]),
        *((Column(name, "short"), partial(value, name)) for name in names),
    )


def progress(report: Report, t: Words) -> Table:
    """How far each run is, and its best and last Dice."""

    def logged(epochs: dict[str, Any]) -> str:
        return "–" if epochs["first"] is None else f"{epochs['first']}–{epochs['last']}"

    def measurements(run: dict[str, Any]) -> Cell:
        return Cell(str(run["measurements"]), t("carried") if run["carried_forward"] else "")

    return table(
        report["runs"],
        (t("run"), lambda run: run["name"]),
        (t("logged"), lambda run: logged(run["epochs"])),
        (t("planned"), lambda run: number(run["epochs"]["max"], 0)),
        (t("values"), lambda run: str(run["values"])),
        (t("measurements"), measurements),
        (t("best"), lambda run: _point(run["best"], t)),
        (t("last"), lambda run: _point(run["last"], t)),
    )


def equal(report: Report, t: Words) -> Table:
    """Where the runs stood at the last epoch that all have logged."""
    return table(
        report["equal"]["per_run"],
        (t("run"), lambda at: at["name"]),
        ("Dice", lambda at: number(at["dice"])),
        (t("measured_at"), lambda at: number(at["measured_at"], 0)),
        (t("best_so_far"), lambda at: _point(at["best"], t)),
        title=t("h_equal", epoch=report["equal"]["epoch"]),
    )


def courses(report: Report, t: Words) -> Table:
    """Validation Dice at the epochs that both of two groups measured."""
    return table(
        report["courses"],
        (t("difference"), lambda row: f"{row['b']} − {row['a']}"),
        (t("common"), lambda row: str(row["n"])),
        (t("mean_difference"), lambda row: estimate(row, sign=True, to=t("to"))),
        (t("ahead"), lambda row: f"{row['ahead_b']} / {row['ahead_a']}"),
        title=t("h_courses"),
    )


def early(report: Report, t: Words) -> Table:
    """Means over the early phase."""
    return table(
        report["early"]["per_run"],
        (t("run"), lambda row: row["name"]),
        (t("mean_dice"), lambda row: number(row["mean_dice"])),
        (t("values"), lambda row: str(row["values"])),
        (t("measurements"), lambda row: str(row["measurements"])),
        (t("mean_loss"), lambda row: number(row["mean_loss"])),
        (t("loss_variance"), lambda row: number(row["loss_variance"], 6)),
        title=t("h_early", start=report["early"]["from"], end=report["early"]["to"]),
    )


def windows(run: dict[str, Any], t: Words) -> Table:
    """A run's log, window by window."""
    return table(
        run["windows"],
        (t("epochs"), lambda w: f"{w['start']}–{w['end']}"),
        (t("mean_dice"), lambda w: number(w["mean_dice"])),
        (t("best_dice"), lambda w: number(w["best_dice"])),
        (t("mean_loss"), lambda w: number(w["mean_loss"])),
        (t("change"), lambda w: signed(w["change"])),
        (t("rests_on"), lambda w: t("rests", n=w["measurements"], values=w["values"])),
        title=run["name"],
        folded=len(run["windows"]) > _OPEN,
    )


def events(report: Report, t: Words) -> Table:
    """Jumps, falls and loss anomalies, run by run."""
    found: list[dict[str, Any]] = []
    for run in report["runs"]:
        for kind in ("jumps", "falls"):
            for change in run[kind]:
                note = t("across_gap") if change["across_gap"] else ""
                at = f"{change['from_epoch']} → {change['epoch']}"
                found.append({**change, "name": run["name"], "what": Cell(t(f"kind_{kind}"), note), "at": at})
        for odd in run["loss_anomalies"]:
            values = {"from": odd["usual"], "to": odd["loss"], "change": odd["loss"] - odd["usual"]}
            found.append({**values, "name": run["name"], "what": t("kind_loss"), "at": str(odd["epoch"])})
    return table(
        found,
        (t("run"), lambda row: row["name"]),
        (Column(t("what"), "short"), lambda row: row["what"]),
        (t("epoch"), lambda row: row["at"]),
        (t("from"), lambda row: number(row["from"])),
        (t("to_value"), lambda row: number(row["to"])),
        (t("change"), lambda row: signed(row["change"])),
    )


def steadiness(report: Report, t: Words) -> Table:
    """How much Dice and loss go up and down."""
    return table(
        [(run["name"], run["steadiness"]) for run in report["runs"]],
        (t("run"), lambda row: row[0]),
        (t("dice_step_sd"), lambda row: Cell(number(row[1]["dice_step_sd"]), t("of_steps", n=row[1]["dice_steps"]))),
        (t("drawdown"), lambda row: number(row[1]["drawdown"])),
        (t("loss_scatter"), lambda row: number(row[1]["loss_scatter"])),
        title=t("h_steadiness"),
    )


def tests(report: Report, t: Words, a: str, b: str) -> Table:
    """The test scores of two groups, a row for each metric."""

    def mean(side: str, one: dict[str, Any]) -> Cell:
        found = {part: one[f"{part}_{side}"] for part in ("mean", "low", "high")}
        return estimate(found if found["mean"] is not None else None, digits(one), to=t("to"))

    def digits(one: dict[str, Any]) -> int:
        return metric(one["metric"]).unit.decimals

    def difference(one: dict[str, Any]) -> Cell:
        return estimate(one, digits(one), sign=True, to=t("to"), best=one["winner"] is not None)

    return table(
        [one for one in report["tests"] if (one["a"], one["b"]) == (a, b)],
        (t("metric"), lambda one: t.metric(one["metric"]) + t.arrow(one["metric"])),
        (a, partial(mean, "a")),
        (b, partial(mean, "b")),
        (t("difference"), difference),
        ("p", lambda one: small(one["p"])),
        (t("p_holm"), lambda one: small(one["p_holm"])),
        (t("effect"), lambda one: signed(one["effect"], 2)),
        (t("detectable"), lambda one: number(one["detectable"], digits(one))),
        (t("images"), lambda one: str(one["n"])),
        (Column(t("winner"), "short"), lambda one: one["winner"] or "–"),
        title=f"{b} − {a}",
    )


def seeds(report: Report, t: Words) -> Table:
    """Figures over seeds: means of the groups that have several, and differences of every two such groups."""
    found: dict[tuple[str, ...], dict[str, Any]] = {(s["metric"], s["group"]): s for s in report["seeds"]}
    found |= {(s["metric"], s["a"], s["b"]): s for s in report["seed_tests"]}
    counts = {s["group"]: s["n"] for s in report["seeds"]}
    pairs = dict.fromkeys((s["a"], s["b"]) for s in report["seed_tests"])

    def value(names: tuple[str, ...], key: str) -> Cell:
        return estimate(found.get((key, *names)), metric(key).unit.decimals, sign=len(names) == 2, to=t("to"))

    def detectable(names: tuple[str, ...], key: str) -> str:
        return number(found.get((key, *names), {}).get("detectable"), metric(key).unit.decimals)

    columns: list[Described]
    columns = [(f"{group} ({t('of_seeds', n=n)})", partial(value, (group,))) for group, n in counts.items()]
    for a, b in pairs:
        columns.append((f"{b} − {a}", partial(value, (a, b))))
        columns.append((t("detectable"), partial(detectable, (a, b))))
    figures = {s["metric"]: s["images"] for s in report["seeds"]}

    def label(key: str) -> Cell:
        whole = figures[key] in (None, len(report["test"]["images"]))
        return Cell(t.metric(key), "" if whole else t("of_images", n=figures[key]))

    return table(figures, (t("metric"), label), *columns, title=t("h_seeds"))


def images(report: Report, t: Words, key: str, folded: bool) -> Table:
    """One metric of every image, and the differences from the first group."""
    shown = {case["image"]: f"case-{i}" for i, case in enumerate(report["gallery"], 1)}
    scores = {name: found[key] for name, found in report["test"]["per_image"].items()}
    first, *others = scores
    digits = metric(key).unit.decimals

    def score(name: str, i: int) -> Cell:
        return Cell(number(scores[name][i], digits), sort=scores[name][i])

    def gain(name: str, i: int) -> Cell:
        a, b = scores[first][i], scores[name][i]
        found = None if a is None or b is None else b - a
        return Cell(signed(found, digits), sort=found)

    names = report["test"]["images"]
    return table(
        range(len(names)),
        (t("image"), lambda i: Cell(names[i], link=shown.get(names[i], ""), sort=names[i])),
        *((name, partial(score, name)) for name in scores),
        *((f"{name} − {first}", partial(gain, name)) for name in others),
        title=t.metric(key),
        folded=folded,
        sortable=True,
    )


def winners(report: Report, t: Words) -> Table:
    """Who wins at what and why; the pair is named where there is more than one."""
    between: Described = (Column(t("between"), "short"), lambda row: " / ".join(row["between"]))
    return table(
        report["winners"],
        (t("item"), lambda row: t.item(row["item"])),
        *([between] if len(report["groups"]) > 2 else []),
        (Column(t("winner"), "short"), lambda row: Cell(row["winner"] or t("refused"), best=bool(row["winner"]))),
        (Column(t("reason"), "long"), lambda row: row["reason"]),
    )


def _point(point: dict[str, Any] | None, t: Words) -> Cell:
    """A Dice value and its epoch."""
    return Cell(number(point["dice"]), t("at_epoch", epoch=point["epoch"])) if point else Cell("–")
