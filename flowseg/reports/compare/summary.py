"""A comparison as plain values: what report.json holds and the pages show."""

import math
from dataclasses import asdict, replace
from typing import Any

from flowseg.reports.compare import events, windows
from flowseg.reports.compare.differences import LEVEL
from flowseg.reports.compare.events import Change, falls, jumps, loss_anomalies, steadiness
from flowseg.reports.compare.evidence import Evidence, OnTest
from flowseg.reports.compare.findings import MIN_MEASUREMENTS, advice, conclusions, headline, limits
from flowseg.reports.compare.judgements import MIN_COMMON, TEST, Judgement
from flowseg.reports.compare.log import Row, RunLog
from flowseg.reports.compare.words import Words
from flowseg.reports.verdict import ALPHA

FORMAT = "flowseg-compare-1"

KEYS = {
    "format": "names this layout",
    "lang": "language of the sentences: en or ko",
    "runs": "for each run: name, group, path, seed, parameters (total number, null where not known), epochs (first "
    "and last logged, max planned; null where not known), values (epochs with a Dice value), measurements (distinct "
    "validations that these are), carried_forward (whether values repeat between validations), every (epochs from "
    "one measurement to the next), best and last (epoch, dice; of last also measured_at), windows (start, end, "
    "mean_dice, best_dice, mean_loss, change of the mean, values, measurements), jumps and falls (epoch, from, to, "
    "change, from_epoch, across_gap), loss_anomalies (epoch, loss, usual, dice before and after: epoch, dice), gaps "
    "(from, to: nothing logged) and dice_gaps (no Dice logged), steadiness (dice_steps, dice_step_sd, drawdown, "
    "loss_scatter), curve (epoch, loss, dice, measured)",
    "groups": "what is compared: name, runs, seeds, parameters (total, base, conditioner, film_heads)",
    "differing": "settings that differ between groups: field, values by group",
    "early": "the early phase: from, to, per_run (name, mean_dice, values, measurements, mean_loss, loss_variance); "
    "null where the runs share no epoch",
    "equal": "where runs stood at the last epoch that all logged: epoch, per_run (name, dice, measured_at, best); "
    "null where they share none",
    "courses": "validation Dice at the epochs measured in both, for each two groups: a, b, n, difference (b minus a), "
    "low, high (95 %, for autocorrelation), independent, ahead_a, ahead_b, p",
    "test": "scores on the test split: images (names), means (by group and metric: mean, low, high, n, of the images "
    "on which the group has the metric), per_image (by group and metric, in the order of images; null where it does "
    "not exist), field_of_view (whether the scores are inside it), partial (metrics not in all evaluations), "
    "evaluation (what differs between the runs' evaluations: field, values by group, a list where a group's runs "
    "differ; mask.threshold and mask.min_component are what made the masks); null without two groups of run folders",
    "tests": "for each two groups and metric: a, b, metric, n (images on which both have the metric, and which all "
    "values here are of), mean_a, mean_b, difference (b minus a), low, high (bootstrap 95 % over images), p (Wilcoxon "
    "signed-rank), p_holm (over all tests here), effect (matched-pairs rank-biserial), detectable (found in 80 % of "
    "repetitions after Holm's correction), images_needed (for the difference found, likewise), low_a, high_a, low_b, "
    "high_b (bootstrap 95 % of the means), better (by the means alone), winner (null where refused)",
    "seeds": "for each group of several seeds and figure: group, metric, values by seed, images (how many; every "
    "run of these groups has the metric on them; null for a figure of the training), mean, low, high (Student t)",
    "seed_tests": "for each two such groups and figure: a, b, metric, n_a, n_b, paired, difference, low, high, p, "
    "detectable",
    "winners": "for each two groups and item: item, between, winner (null where refused), reason, rule (its name)",
    "headline": "the answer, a sentence for each two groups",
    "conclusions": "sentences",
    "limits": "sentences: what the comparison cannot say",
    "next": "sentences: what to run next",
    "gallery": "images shown: image, kinds (improved, worsened, hardest), against, dice by group, pictures",
    "constants": "what the rules use",
    "keys": "this list",
}


def summarize(evidence: Evidence, words: Words) -> dict[str, Any]:
    """Returns the values of `KEYS`; the gallery's `pictures` are filled in when they are drawn."""
    test = evidence.on_test
    counts = evidence.parameters
    early = evidence.early_range
    winners = {(j.item, j.a, j.b): j.winner for j in evidence.judgements}
    return {
        "format": FORMAT,
        "lang": words.language,
        "runs": [_run(log, group.name, evidence) for group in evidence.groups for log in group.logs],
        "groups": [
            {"name": g.name, "runs": [log.name for log in g.logs], "seeds": g.seeds, "parameters": counts[g.name]}
            for g in evidence.groups
        ],
        "differing": evidence.differing,
        "early": {"from": early[0], "to": early[1], "per_run": [asdict(e) for e in evidence.early]} if early else None,
        "equal": _equal(evidence),
        "courses": [asdict(course) for course in evidence.courses],
        "test": _test(test) if test is not None else None,
        "tests": [
            {**asdict(one), "better": one.better, "winner": winners[TEST + one.metric, one.a, one.b]}
            for one in (test.tests if test is not None else [])
        ],
        "seeds": [
            {"group": s.group, "metric": s.metric, "values": s.values, "images": s.images, **vars(s.mean)}
            for s in evidence.seeds
        ],
        "seed_tests": [asdict(found) for found in evidence.seed_tests],
        "winners": [_winner(judgement, words) for judgement in evidence.judgements],
        "headline": [words.say(message) for message in headline(evidence)],
        "conclusions": [words.say(message) for message in conclusions(evidence)],
        "limits": [words.say(message) for message in limits(evidence)],
        "next": [words.say(message) for message in advice(evidence)],
        "gallery": [
            {"image": c.key, "kinds": list(c.kinds), "against": list(c.against), "dice": c.dice, "pictures": None}
            for c in (test.cases if test is not None else [])
        ],
        "constants": {
            "window": windows.LENGTH,
            "step": events.STEP,
            "outlier": events.OUTLIER,
            "alpha": ALPHA,
            "level": LEVEL,
            "min_common": MIN_COMMON,
            "min_measurements": MIN_MEASUREMENTS,
        },
        "keys": KEYS,
    }


def _winner(judgement: Judgement, words: Words) -> dict[str, Any]:
    reason = {"reason": words(judgement.reason, **judgement.values), "rule": judgement.reason}
    between = [judgement.a, judgement.b]
    return {"item": judgement.item, "between": between, "winner": judgement.winner, **reason}


def _equal(evidence: Evidence) -> dict[str, Any] | None:
    epoch = evidence.equal_epoch
    if epoch is None:
        return None
    rows = []
    for log in evidence.logs:
        if log.rows:
            until = replace(log, rows=tuple(row for row in log.rows if row.epoch <= epoch))
            dice, measured_at = (until.last.dice, until.last.measured_at) if until.last else (None, None)
            rows.append({"name": log.name, "dice": dice, "measured_at": measured_at, "best": _point(until.best)})
    return {"epoch": epoch, "per_run": rows}


def _test(test: OnTest) -> dict[str, Any]:
    return {
        "images": list(test.keys),
        "means": {name: {m: mean and asdict(mean) for m, mean in by.items()} for name, by in test.means.items()},
        "per_image": {
            name: {m: [None if math.isnan(v) else float(v) for v in values] for m, values in by.items()}
            for name, by in test.values.items()
        },
        "field_of_view": all(scores.inside for scores in test.first.values()),
        "partial": test.partial,
        "evaluation": test.evaluation,
    }


def _run(log: RunLog, group: str, evidence: Evidence) -> dict[str, Any]:
    counts = evidence.parameters[group]
    return {
        "name": log.name,
        "group": group,
        "path": str(log.path),
        "seed": log.run.config.seed if log.run is not None else None,
        "parameters": counts["total"] if counts is not None else None,
        **course_of(log),
    }


def course_of(log: RunLog) -> dict[str, Any]:
    """Returns what a run logged, and what is remarkable in it: the keys of `runs` from `epochs` on."""
    first, last = (log.epochs[0], log.epochs[-1]) if log.rows else (None, None)
    return {
        "epochs": {"first": first, "last": last, "max": log.planned},
        "values": len(log.dices),
        "measurements": len(log.measured),
        "carried_forward": log.carried_forward,
        "every": log.every,
        "best": _point(log.best),
        "last": {**point, "measured_at": log.last.measured_at} if (point := _point(log.last)) and log.last else None,
        "windows": [asdict(window) for window in windows.windows(log)],
        "jumps": [_change(change) for change in jumps(log)],
        "falls": [_change(change) for change in falls(log)],
        "loss_anomalies": [
            {**vars(a), "before": _point(a.before), "after": _point(a.after)} for a in loss_anomalies(log)
        ],
        "gaps": [{"from": hole.start, "to": hole.end} for hole in log.holes],
        "dice_gaps": [{"from": hole.start, "to": hole.end} for hole in log.dice_holes],
        "steadiness": asdict(steadiness(log)),
        "curve": [{"epoch": r.epoch, "loss": r.loss, "dice": r.dice, "measured": r.measured} for r in log.rows],
    }


def _point(row: Row | None) -> dict[str, Any] | None:
    return {"epoch": row.epoch, "dice": row.dice} if row is not None else None


def _change(change: Change) -> dict[str, Any]:
    values = {"epoch": change.epoch, "from": change.before, "to": change.after, "change": change.change}
    return {**values, "from_epoch": change.from_epoch, "across_gap": change.across_hole}
