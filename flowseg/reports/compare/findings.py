"""What the numbers say, what they cannot say, and what to run next, as messages that follow by rules."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from flowseg.evaluation.paired import images_needed
from flowseg.evaluation.soft import CALIBRATION
from flowseg.reports.compare.differences import seeds_needed
from flowseg.reports.compare.events import STEP, falls, jumps, loss_anomalies
from flowseg.reports.compare.evidence import Evidence
from flowseg.reports.compare.judgements import OVER_SEEDS, TEST, Judgement
from flowseg.reports.compare.log import RunLog
from flowseg.reports.compare.setups import MASK
from flowseg.reports.compare.sources import only_seeds_differ
from flowseg.reports.messages import Message
from flowseg.reports.verdict import MIN_DIFFERENCE

MIN_MEASUREMENTS = 20
"""With fewer validations over a training, jumps and falls can hardly be told from noise. The number is a choice."""

SEEDS = 3
"""Seeds that the report asks for. An interval from two seeds is thirteen standard errors wide on each side."""


def merged(messages: Iterable[Message]) -> list[Message]:
    """Joins messages that say the same of several runs into one that names them all, at the place of the first."""
    names: dict[str, tuple[Message, list[str]]] = {}
    for message in messages:
        rest = {name: value for name, value in message.values.items() if name != "name"}
        said = names.setdefault(repr((message.key, rest)), (message, []))
        said[1].append(message.values.get("name", ""))
    return [
        replace(message, values=message.values | {"name": ", ".join(found)}) if len(found) > 1 else message
        for message, found in names.values()
    ]


def headline(evidence: Evidence) -> list[Message]:
    """The answer, a line for each pair of groups."""
    lines = []
    for a, b in evidence.pairs:
        dice = _judgement(evidence, f"{TEST}dice", a.name, b.name)
        values = {"a": a.name, "b": b.name}
        if only_seeds_differ(a, b):
            lines.append(Message("headline_seeds_only", values))
        elif dice is None:
            lines.append(Message("headline_no_test", values))
        elif dice.winner is None:
            lines.append(Message("headline_not_different", values | dice.values))
        else:
            loser = a.name if dice.winner == b.name else b.name
            values |= {"winner": dice.winner, "loser": loser, "size": abs(dice.values["d"])}
            # The bounds of the interval as gains of the winner.
            gains = sorted(
                bound if dice.values["d"] > 0 else -bound for bound in (dice.values["low"], dice.values["high"])
            )
            values |= {"size_low": gains[0], "size_high": gains[1]}
            lines.append(Message("headline_better", values | dice.values))
    return lines


def conclusions(evidence: Evidence) -> list[Message]:
    """What was found, the test images first."""
    return merged([*_of_tests(evidence), *_of_measurements(evidence), *_of_training(evidence), *_of_events(evidence)])


def _of_tests(evidence: Evidence) -> Iterator[Message]:
    for a, b in evidence.pairs:
        judgements = [j for j in evidence.judgements if (j.a, j.b) == (a.name, b.name) and j.item.startswith(TEST)]
        dice = next((j for j in judgements if j.item == f"{TEST}dice"), None)
        if dice is not None and dice.values["d"] is not None:
            values = {"a": a.name, "b": b.name, **dice.values}
            yield Message("found_seeds_only" if dice.reason == "seeds_only" else "found_test_dice", values)
        for name, other in ((a.name, b.name), (b.name, a.name)):
            metrics = [j.item.removeprefix(TEST) for j in judgements if j.winner == name]
            if metrics:
                values = {"name": name, "other": other, "metrics": metrics}
                yield Message("found_wins", values | {"n": len(metrics), "of": len(judgements)})
        undecided = sum(j.winner is None for j in judgements)
        if judgements and undecided and not only_seeds_differ(a, b):
            yield Message("found_undecided", {"n": undecided, "of": len(judgements), "a": a.name, "b": b.name})


def _of_measurements(evidence: Evidence) -> Iterator[Message]:
    for log in evidence.logs:
        values = {"name": log.name, "values": len(log.dices), "n": len(log.measured), "every": log.every}
        if log.carried_forward:
            yield Message("found_carried" if log.every is not None else "found_carried_once", values)
    for log in evidence.logs:
        for hole in log.holes:
            yield Message("found_hole", {"name": log.name, **vars(hole)})
        for hole in log.dice_holes:
            yield Message("found_dice_hole", {"name": log.name, **vars(hole)})


def _of_training(evidence: Evidence) -> Iterator[Message]:
    for a, b in evidence.pairs:
        for item in ("best_dice", "equal_epochs", "early"):
            judgement = _judgement(evidence, item, a.name, b.name)
            if judgement is None or judgement.reason == "none_common":
                continue
            values = {"a": a.name, "b": b.name, "d": judgement.values["value_b"] - judgement.values["value_a"]}
            values |= {name: value for name, value in judgement.values.items() if name != "d"}
            over_seeds = "n_a" in values and "low" in values
            if item == "best_dice":
                for name, group in (("epoch_a", a), ("epoch_b", b)):
                    values[name] = ", ".join(str(log.best.epoch) for log in group.logs if log.best is not None)
                single = values["n_a"] == values["n_b"] == 1
                key = "found_best_seeds" if over_seeds else "found_best" if single else "found_best_means"
                yield Message(key, values)
            elif item == "early":
                yield from _of_early(evidence, a.logs, b.logs)
            elif over_seeds:
                yield Message("found_equal_seeds", values)
            elif values.get("n") == 1:
                yield Message("found_equal_one", values)
            elif values.get("low") is not None:
                yield Message("found_equal_interval", values)


def _of_early(evidence: Evidence, a: tuple[RunLog, ...], b: tuple[RunLog, ...]) -> Iterator[Message]:
    """Compares two single runs by their means over the early phase."""
    assert evidence.early_range is not None
    if len(a) > 1 or len(b) > 1:
        return
    one, two = (next(e for e in evidence.early if e.name == logs[0].name) for logs in (a, b))
    if one.mean_dice is None or two.mean_dice is None:
        return
    values = {"a": one.name, "b": two.name, "start": evidence.early_range[0], "end": evidence.early_range[1]}
    values |= {"mean_a": one.mean_dice, "mean_b": two.mean_dice, "d": two.mean_dice - one.mean_dice}
    values |= {"n_a": one.measurements, "n_b": two.measurements}
    yield Message("found_early_one" if one.measurements == two.measurements == 1 else "found_early", values)


def _of_events(evidence: Evidence) -> Iterator[Message]:
    for log in evidence.logs:
        for anomaly in loss_anomalies(log):
            values = {"name": log.name, "epoch": anomaly.epoch, "loss": anomaly.loss, "usual": anomaly.usual}
            if anomaly.before is None or anomaly.after is None:
                yield Message("found_anomaly", values)
                continue
            values |= {"before": anomaly.before.dice, "before_epoch": anomaly.before.epoch}
            values |= {"after": anomaly.after.dice, "after_epoch": anomaly.after.epoch}
            seen = anomaly.after.epoch - anomaly.before.epoch <= 1
            yield Message("found_anomaly_seen" if seen else "found_anomaly_between", values)
        changes = [*jumps(log), *falls(log)]
        for change in changes:
            if change.across_hole:
                values = {"name": log.name, "start": change.from_epoch, "end": change.epoch}
                yield Message("found_across", values | {"before": change.before, "after": change.after})
        dated = {"jumps": [c.epoch for c in changes if c.change > 0 and not c.across_hole]}
        dated["falls"] = [c.epoch for c in changes if c.change < 0 and not c.across_hole]
        if dated["jumps"] or dated["falls"]:
            key = "found_changes" if all(dated.values()) else "found_jumps" if dated["jumps"] else "found_falls"
            yield Message(key, {"name": log.name, **dated, "step": STEP})
            if log.carried_forward and log.every is not None:
                yield Message("found_dated", {"name": log.name, "every": log.every})


def limits(evidence: Evidence) -> list[Message]:
    """What the comparison cannot say."""
    found = []
    single = [group.name for group in evidence.groups if len(group.logs) == 1]
    apart = [(a, b) for a, b in evidence.pairs if not only_seeds_differ(a, b)]
    if single and apart:
        found.append(Message("limit_one_training", {"names": single}))
    for a, b in apart:
        if set(a.seeds) & set(b.seeds) and a.config == b.config:
            found.append(Message("limit_same_config", {"a": a.name, "b": b.name}))
    if evidence.on_test is not None:
        for test in evidence.on_test.tests:
            if test.metric == "dice" and test.detectable:
                values = {"a": test.a, "b": test.b, "n": test.n, "detectable": test.detectable}
                values["tests"] = evidence.on_test.compared
                found.append(Message("limit_power", values))
        if any(judgement.reason in OVER_SEEDS for judgement in evidence.judgements):
            found.append(Message("limit_seeds"))
        found.append(Message("limit_independent"))
        fields = [row["field"] for row in evidence.on_test.evaluation if row["field"] not in ("data", "window_batch")]
        asked = [field for field in fields if not field.startswith(MASK)]
        if asked:
            found.append(Message("limit_evaluated_apart", {"fields": asked}))
        elif fields:
            found.append(Message("limit_mask_rules"))
        sauna = [group.name for group in evidence.groups if group.sauna]
        if sauna:
            found.append(Message("limit_sauna", {"names": sauna, "metrics": CALIBRATION}))
        if evidence.on_test.partial:
            found.append(Message("limit_partial", {"metrics": evidence.on_test.partial}))
    without = [log.name for log in evidence.logs if log.run is None]
    if without:
        found.append(Message("limit_no_test", {"names": without}))
    if any(log.measured for log in evidence.logs):
        found.append(Message("limit_best"))
    return found


def advice(evidence: Evidence) -> list[Message]:
    """What to run next; each piece of advice has its own rule."""
    found: list[Message] = []
    for log in evidence.logs:
        if not log.rows:
            continue
        for hole in (*log.holes, *log.dice_holes):
            found.append(Message("next_hole", {"name": log.name, **vars(hole)}))
        span = log.epochs[-1] - log.epochs[0] + 1
        closer = max(1, span // MIN_MEASUREMENTS)
        if len(log.measured) < MIN_MEASUREMENTS and log.every is not None and closer < log.every:
            values = {"name": log.name, "n": len(log.measured), "every": log.every, "closer": closer}
            found.append(Message("next_validate" if log.ours else "next_validate_other", values))
        if log.planned is not None and log.epochs[-1] < log.planned:
            found.append(Message("next_finish", {"name": log.name, "last": log.epochs[-1], "planned": log.planned}))
        elif len(log.measured) > 1 and log.best is log.measured[-1]:
            found.append(Message("next_longer", {"name": log.name, "epoch": log.measured[-1].epoch}))
    found += _more_trials(evidence)
    for log in evidence.logs:
        changes, anomalies = falls(log), loss_anomalies(log)
        if changes or anomalies:
            values = {"name": log.name, "falls": len(changes), "anomalies": len(anomalies)}
            found.append(Message("next_steady" if log.ours else "next_steady_other", values))
        analysed = any((log.path / "analysis").glob("film-*/report.json"))
        if log.run is not None and log.run.config.model.film.stages and not analysed:
            found.append(Message("next_film", {"name": log.name}))
    return merged(found)


def _more_trials(evidence: Evidence) -> Iterator[Message]:
    """Asks for a test, for seeds or for images if these would settle something."""
    without = [log.name for log in evidence.logs if log.run is None]
    if without:
        yield Message("next_test", {"names": without})
    few = [group.name for group in evidence.groups if len(group.logs) < SEEDS]
    apart = [(a, b) for a, b in evidence.pairs if not only_seeds_differ(a, b)]
    if few and apart:
        yield Message("next_seeds", {"names": few, "n": SEEDS})
    for a, b in apart:
        dice = _judgement(evidence, f"{TEST}dice", a.name, b.name)
        if dice is None or dice.winner is not None or not dice.values["d"]:
            continue
        # A difference too small to matter is not worth searching for.
        target = max(abs(dice.values["d"]), MIN_DIFFERENCE)
        values = {"a": a.name, "b": b.name, "target": target}
        if dice.reason == "seeds_overlap_images":
            by_group = {s.group: s.values for s in evidence.seeds if s.metric == "dice"}
            first, second = by_group[a.name], by_group[b.name]
            seeds = seeds_needed(first, second, target)
            if seeds > min(len(first), len(second)):
                counts = {"n": seeds, "n_a": len(first), "n_b": len(second)}
                yield Message("next_more_seeds", values | counts)
        elif dice.values["detectable"]:
            assert evidence.on_test is not None
            tests, have = evidence.on_test.compared, dice.values["n"]
            images = images_needed(have, dice.values["detectable"], target, tests)
            if images > have:
                yield Message("next_images", values | {"n": images, "have": have, "tests": tests})


def _judgement(evidence: Evidence, item: str, a: str, b: str) -> Judgement | None:
    return next((j for j in evidence.judgements if (j.item, j.a, j.b) == (item, a, b)), None)
