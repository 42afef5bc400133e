"""All numbers of a comparison, before they are put into words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from flowseg.errors import UserError
from flowseg.reports.compare import cases, differences, setups
from flowseg.reports.compare.cases import Case
from flowseg.reports.compare.differences import Course, Mean, SeedTest, Test, course, image_tests, seed_mean, seed_test
from flowseg.reports.compare.judgements import Judgement, corrected, judge_pair, mean_curve
from flowseg.reports.compare.log import RunLog
from flowseg.reports.compare.pictures import check_same_pixels
from flowseg.reports.compare.scores import Scores, Values, check_same_images, mean_scores, read_scores, shared_metrics
from flowseg.reports.compare.sources import Group
from flowseg.reports.compare.windows import Early, early, early_phase, shared_epochs


@dataclass(frozen=True)
class OnTest:
    """Test scores of the groups of run folders; all lists of images have one order."""

    keys: tuple[str, ...]
    values: dict[str, dict[str, Values]]
    """For each group, for each metric: a value per image, averaged over the group's seeds."""
    means: dict[str, dict[str, Mean | None]]
    tests: list[Test]
    partial: list[str]
    """Metrics that only some evaluations have."""
    cases: list[Case]
    scores: dict[str, dict[int, Scores]]
    """Of each group, by seed."""

    @property
    def compared(self) -> int:
        """The number of tests that Holm's correction covers."""
        return sum(test.p is not None for test in self.tests)

    @property
    def first(self) -> dict[str, Scores]:
        """The scores of each group's first run, whose pictures are shown."""
        return {name: next(iter(group.values())) for name, group in self.scores.items()}

    @property
    def evaluation(self) -> list[dict]:
        """Settings of sampling and mask rules in which the evaluations of all runs differ."""
        return setups.differing_evaluation(self.scores)


@dataclass(frozen=True)
class Seeds:
    """A value of each training of a group, over its seeds."""

    group: str
    metric: str
    values: dict[int, float]
    mean: Mean
    images: int | None = None
    """How many images the values are means over; None for a figure of the training."""


@dataclass(frozen=True)
class Evidence:
    """The content of a report as numbers."""

    groups: list[Group]
    parameters: dict[str, dict[str, int] | None]
    differing: list[dict]
    early_range: tuple[int, int] | None
    early: list[Early]
    equal_epoch: int | None
    """The last epoch that all runs have logged."""
    courses: list[Course]
    on_test: OnTest | None
    seeds: list[Seeds]
    seed_tests: list[SeedTest]
    judgements: list[Judgement]

    @property
    def logs(self) -> list[RunLog]:
        return [log for group in self.groups for log in group.logs]

    @property
    def pairs(self) -> list[tuple[Group, Group]]:
        return list(combinations(self.groups, 2))


def gather(groups: Sequence[Group], early_range: tuple[int, int] | None) -> Evidence:
    """Compares groups of runs, with the early phase over `early_range`, or the first epochs that all runs have.

    Raises:
        UserError: a run folder without test scores, test sets that differ, or no logged epoch in the early phase.
    """
    logs = [log for group in groups for log in group.logs]
    logged = [log for log in logs if log.rows]
    common = shared_epochs(logged) if len(logged) > 1 else []
    if early_range is None:
        early_range = early_phase(logged) if len(logged) > 1 else None
    else:
        check_early(early_range, logged)
    counts = {group.name: setups.parameters(group) for group in groups}
    on_test = _on_test([group for group in groups if group.config is not None])
    seeds = _over_seeds(groups, on_test)
    figures: dict[str, dict[str, dict[int, float]]] = {}
    for found in seeds:
        figures.setdefault(found.group, {})[found.metric] = found.values
    tests = on_test.tests if on_test is not None else []
    compared = on_test.compared if on_test is not None else 0
    totals = {name: count["total"] if count is not None else None for name, count in counts.items()}
    pairs = list(combinations(groups, 2))
    return Evidence(
        groups=list(groups),
        parameters=counts,
        differing=setups.differing_settings(groups),
        early_range=early_range,
        early=[early(log, *early_range) for log in logged] if early_range is not None else [],
        equal_epoch=common[-1] if common else None,
        courses=[course(a.name, b.name, mean_curve(a), mean_curve(b)) for a, b in pairs],
        on_test=on_test,
        seeds=seeds,
        seed_tests=[
            seed_test(metric, a.name, b.name, figures[a.name][metric], figures[b.name][metric])
            for a, b in pairs
            for metric in figures.get(a.name, {})
            if metric in figures.get(b.name, {})
        ],
        judgements=corrected(
            [j for a, b in pairs for j in judge_pair(a, b, totals, early_range, tests, compared, figures)]
        ),
    )


def check_early(chosen: tuple[int, int], logs: Sequence[RunLog]) -> None:
    """Raises a UserError unless every log has an epoch in the chosen range."""
    start, end = chosen
    if start > end:
        raise UserError(f"--early {start} {end}: runs backwards; give the first epoch, then the last")
    for log in logs:
        if not any(start <= epoch <= end for epoch in log.epochs):
            raise UserError(
                f"--early {start} {end}: {log.path} has logged none of these epochs, only {log.epochs[0]} to "
                f"{log.epochs[-1]}; choose others"
            )


def _on_test(groups: Sequence[Group]) -> OnTest | None:
    """Test scores of the groups; None if there are fewer than two."""
    if len(groups) < 2:
        return None
    scores = {
        group.name: {log.run.config.seed: read_scores(log.run) for log in group.logs if log.run is not None}
        for group in groups
    }
    every = [one for group in scores.values() for one in group.values()]
    check_same_images(every)
    for other in every[1:]:
        check_same_pixels(every[0], other, every[0].keys)
    keys = every[0].keys
    metrics, partial = shared_metrics(every)
    if not metrics:
        first, second = every[0].folder, every[1].folder
        raise UserError(f"{second}: shares no metric with {first}; evaluate both again: flowseg eval")
    values = {name: mean_scores(list(group.values()), keys, metrics) for name, group in scores.items()}
    return OnTest(
        keys=keys,
        values=values,
        means={name: {m: differences.image_mean(v) for m, v in by.items()} for name, by in values.items()},
        tests=image_tests(values),
        partial=partial,
        cases=cases.choose_cases(keys, {name: by["dice"] for name, by in values.items()}) if "dice" in metrics else [],
        scores=scores,
    )


def _over_seeds(groups: Sequence[Group], on_test: OnTest | None) -> list[Seeds]:
    """Best validation Dice and mean test scores by seed, of groups that have two seeds or more.

    All means of a metric are over the same images: those on which every run of these groups has it.
    """
    found = []
    several = [group for group in groups if len(group.logs) > 1]
    for group in several:
        bests = group.by_seed(lambda log: log.best_dice)
        if len(bests) == len(group.logs):
            found.append(Seeds(group.name, "best_validation_dice", bests, seed_mean(list(bests.values()))))
        if on_test is None:
            continue
        for metric in on_test.values[group.name]:
            # A group's value of an image is finite if those of all its runs are.
            kept = np.isfinite([on_test.values[one.name][metric] for one in several]).all(axis=0)
            if kept.any():
                means = {
                    seed: fmean(one.in_order(on_test.keys)[metric][kept])
                    for seed, one in on_test.scores[group.name].items()
                }
                found.append(Seeds(group.name, metric, means, seed_mean(list(means.values())), int(kept.sum())))
    return found
