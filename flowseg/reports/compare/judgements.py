"""Who wins at what, by a rule for each item; where the numbers do not name a winner, a refusal and its reason.

    the two are one set-up with different seeds           -> refused: the difference is due to chance
    a figure of the training is one value on either side  -> refused
    too few common measurements or images                 -> refused
    the 95 % interval of the difference includes zero     -> refused
    p is 0.05 or more after Holm's correction: of a test score for all of them, of a figure of the training for all
    pairs                                                 -> refused
    calibration of a map that is no probability (SAUNA)   -> refused
    both have several seeds, whose interval includes zero -> refused
    otherwise                                             -> the better one

Two runs on the same images are compared by the interval of their difference, image by image, not by whether the
intervals of their means overlap: most of the spread of scores is between images, and it is the same for both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import levene

from flowseg.evaluation.paired import holm, smallest_p
from flowseg.evaluation.soft import CALIBRATION
from flowseg.reports.compare.differences import Series, Test, better, course, seed_test
from flowseg.reports.compare.events import residuals
from flowseg.reports.compare.log import RunLog
from flowseg.reports.compare.sources import Group, only_seeds_differ
from flowseg.reports.compare.windows import LENGTH
from flowseg.reports.verdict import ALPHA

MIN_COMMON = 6
"""With fewer common measurements, the interval of their mean difference is not used: a few correlated values say
little."""

TEST = "test:"
"""The prefix of the items of test scores; the metric follows."""

OVER_SEEDS = ("seeds_overlap_images", "wins_images_and_seeds")
"""The reasons for which a test score was judged over seeds too. Their intervals are not corrected for the number of
metrics: with three seeds hardly any p would be small enough."""


@dataclass(frozen=True)
class Judgement:
    """One item between two groups."""

    item: str
    a: str
    b: str
    winner: str | None
    reason: str
    """The key of a message (flowseg.reports.compare.words)."""
    values: dict[str, Any] = field(default_factory=dict)
    """The values in the message."""


def judge_pair(
    a: Group,
    b: Group,
    parameters: dict[str, int | None],
    early: tuple[int, int] | None,
    tests: Sequence[Test],
    comparisons: int,
    seed_scores: dict[str, dict[str, dict[int, float]]],
) -> list[Judgement]:
    """Judges every item between two groups.

    Parameters are counted by group, and `early` is the first and last epoch of the early phase; both None if unknown.
    Holm's correction covers as many `comparisons`. `seed_scores` holds a value by seed for each group and metric.
    """
    found = [_best(a, b), _equal_epochs(a, b, "equal_epochs", None)]
    if early is not None:
        found.append(_equal_epochs(a, b, "early", early))
    found += [_steadiness(a, b), _parameters(a, b, parameters)]
    of_pair = [test for test in tests if (test.a, test.b) == (a.name, b.name)]
    found += [_test(a, b, test, comparisons, seed_scores) for test in of_pair]
    return [judgement for judgement in found if judgement is not None]


def corrected(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Returns the judgements of all pairs, with figures of the training corrected for the number of pairs by Holm.

    Each of these items is a family of its own. `judge_pair` is given test scores that are corrected already.
    """
    families: dict[str, list[int]] = {}
    for i, judgement in enumerate(judgements):
        if "p" in judgement.values and not judgement.item.startswith(TEST):
            families.setdefault(judgement.item, []).append(i)
    found = list(judgements)
    for family in families.values():
        for i, p in zip(family, holm([found[i].values["p"] for i in family]), strict=True):
            one, values = found[i], found[i].values | {"p": p, "pairs": len(family)}
            found[i] = replace(one, values=values)
            if one.winner is not None and not p < ALPHA:
                found[i] = Judgement(one.item, one.a, one.b, None, "holm_pairs", values)
    return found


def mean_curve(group: Group) -> Series:
    """Dice at the epochs that every run of a group has measured, averaged over its runs."""
    curves = [dice_curve(log) for log in group.logs]
    return {epoch: fmean(curve[epoch] for curve in curves) for epoch in sorted(set.intersection(*map(set, curves)))}


def dice_curve(log: RunLog) -> Series:
    """A run's measurements by epoch."""
    return {row.epoch: row.dice for row in log.measured if row.dice is not None}


def _best(a: Group, b: Group) -> Judgement | None:
    bests = [[log.best_dice for log in group.logs if log.best_dice is not None] for group in (a, b)]
    if not all(bests):
        return None
    return _of_training("best_dice", a, b, [fmean(dices) for dices in bests], lambda log: log.best_dice)


def _of_training(
    item: str, a: Group, b: Group, means: Sequence[float], value: Callable[[RunLog], float | None]
) -> Judgement:
    """Judges a value that each training has one of, from its means; only seeds can tell whether it differs."""
    n_a, n_b = (sum(value(log) is not None for log in group.logs) for group in (a, b))
    values: dict[str, Any] = {"value_a": means[0], "value_b": means[1], "n_a": n_a, "n_b": n_b}
    if only_seeds_differ(a, b):
        return Judgement(item, a.name, b.name, None, "seeds_only", values)
    if max(n_a, n_b) < 2:
        return Judgement(item, a.name, b.name, None, "single_values", values)
    if min(n_a, n_b) < 2:
        return Judgement(item, a.name, b.name, None, "one_training", values)
    first, second = a.by_seed(value), b.by_seed(value)
    found = seed_test("dice", a.name, b.name, first, second)
    values |= {"d": found.difference, "low": found.low, "high": found.high, "p": found.p}
    if found.low <= 0 <= found.high:
        return Judgement(item, a.name, b.name, None, "seeds_overlap", values)
    return Judgement(item, a.name, b.name, better("dice", a.name, b.name, found.difference), "wins_seeds", values)


def _equal_epochs(a: Group, b: Group, item: str, between: tuple[int, int] | None) -> Judgement:
    curves = [mean_curve(group) for group in (a, b)]
    if between is not None:
        curves = [{e: d for e, d in curve.items() if between[0] <= e <= between[1]} for curve in curves]
    epochs = sorted(curves[0].keys() & curves[1].keys())
    if not epochs:
        return Judgement(item, a.name, b.name, None, "none_common")

    def mean(curve: Series) -> float:
        return fmean(curve[epoch] for epoch in epochs)

    means = [mean(curve) for curve in curves]
    if len(a.seeds) > 1 and len(b.seeds) > 1:
        return _of_training(item, a, b, means, lambda log: mean(dice_curve(log)))
    found = course(a.name, b.name, *curves)
    values: dict[str, Any] = {"n": found.n, "d": found.difference, "low": found.low, "high": found.high}
    values |= {"value_a": means[0], "value_b": means[1]}
    values |= {"ahead_a": found.ahead_a, "ahead_b": found.ahead_b, "needed": MIN_COMMON}
    if only_seeds_differ(a, b):
        return Judgement(item, a.name, b.name, None, "seeds_only", values)
    if found.n == 1 and len(a.logs) == len(b.logs) == 1:
        return Judgement(item, a.name, b.name, None, "single_values", values)
    if found.n < MIN_COMMON or found.low is None or found.high is None:
        return Judgement(item, a.name, b.name, None, "few_common", values)
    values["p"] = found.p
    if found.low <= 0 <= found.high:
        return Judgement(item, a.name, b.name, None, "overlap_epochs", values)
    return Judgement(item, a.name, b.name, better("dice", a.name, b.name, found.difference), "wins_epochs", values)


def _steadiness(a: Group, b: Group) -> Judgement | None:
    """Compares the scatter of the losses about their running median at common epochs (Brown and Forsythe 1974).

    The value of each is what that test compares, the mean distance from the median; a single spike hardly moves it.
    """
    if len(a.logs) > 1 or len(b.logs) > 1:
        return None
    losses = [{row.epoch: row.loss for row in g.logs[0].rows if row.loss is not None} for g in (a, b)]
    epochs = sorted(losses[0].keys() & losses[1].keys())
    if len(epochs) < 2:
        return None
    off = [residuals(np.array([loss[epoch] for epoch in epochs], np.float64)) for loss in losses]
    scatter = [float(np.abs(o - np.median(o)).mean()) for o in off]
    values: dict[str, Any] = {"n": len(epochs), "value_a": scatter[0], "value_b": scatter[1]}
    if only_seeds_differ(a, b):
        return Judgement("steadiness", a.name, b.name, None, "seeds_only", values)
    if not _same_loss(a, b):
        return Judgement("steadiness", a.name, b.name, None, "other_loss", values)
    if len(epochs) < LENGTH:
        return Judgement("steadiness", a.name, b.name, None, "few_losses", values | {"needed": LENGTH})
    p = float(levene(*off, center="median").pvalue) if any(o.any() for o in off) else 1.0  # no scatter in either
    values["p"] = p
    if not p < ALPHA:
        return Judgement("steadiness", a.name, b.name, None, "alike_scatter", values)
    winner = a.name if values["value_a"] < values["value_b"] else b.name
    return Judgement("steadiness", a.name, b.name, winner, "wins_scatter", values)


def _same_loss(a: Group, b: Group) -> bool:
    """Whether the losses are in one unit, as far as is known."""
    if a.config is None or b.config is None:
        return True
    if a.network is not None or b.network is not None:
        return a.network == b.network
    return a.config.flow == b.config.flow and a.config.data.target == b.config.data.target


def _parameters(a: Group, b: Group, parameters: dict[str, int | None]) -> Judgement | None:
    one, two = parameters[a.name], parameters[b.name]
    if one is None or two is None:
        return None
    values = {"value_a": one, "value_b": two}
    if one == two:
        return Judgement("parameters", a.name, b.name, None, "same_count", values)
    return Judgement("parameters", a.name, b.name, a.name if one < two else b.name, "fewer", values)


def _test(
    a: Group, b: Group, test: Test, comparisons: int, seed_scores: dict[str, dict[str, dict[int, float]]]
) -> Judgement:
    item = TEST + test.metric
    values = {"n": test.n, "d": test.difference, "low": test.low, "high": test.high, "p": test.p_holm}
    values |= {"value_a": test.mean_a, "value_b": test.mean_b, "detectable": test.detectable}
    refuse = partial(Judgement, item, a.name, b.name, None, values=values)
    if test.low is None or test.high is None or test.p_holm is None:
        return refuse("no_values")
    if only_seeds_differ(a, b):
        return refuse("seeds_only")
    if test.metric in CALIBRATION and (a.sauna or b.sauna):
        return refuse("no_probability")
    if smallest_p(test.n, comparisons) >= ALPHA:
        return refuse("few_images")
    if test.low <= 0 <= test.high:
        return refuse("overlap_images")
    if test.p_holm >= ALPHA:
        return refuse("holm")
    if test.better is None:
        return refuse("no_direction")
    scores = [seed_scores.get(group.name, {}).get(test.metric, {}) for group in (a, b)]
    if min(map(len, scores)) < 2:
        return Judgement(item, a.name, b.name, test.better, "wins_images", values)
    seeds = seed_test(test.metric, a.name, b.name, *scores)
    values |= {"seeds_low": seeds.low, "seeds_high": seeds.high, "n_a": seeds.n_a, "n_b": seeds.n_b}
    if seeds.low <= 0 <= seeds.high:
        return refuse("seeds_overlap_images")
    return Judgement(item, a.name, b.name, test.better, "wins_images_and_seeds", values)
