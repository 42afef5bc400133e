"""What a report concludes, cannot say and advises, by its rules."""

from dataclasses import replace

import pytest
from made_groups import group

from flowseg.reports.compare.differences import seed_mean, seeds_needed
from flowseg.reports.compare.evidence import Evidence, Seeds
from flowseg.reports.compare.findings import advice, conclusions, limits
from flowseg.reports.compare.judgements import Judgement, judge_pair
from flowseg.reports.compare.log import RunLog
from flowseg.reports.compare.sources import Group
from flowseg.reports.compare.words import LANGUAGES, Words
from flowseg.reports.verdict import MIN_DIFFERENCE
from flowseg.runs.folder import OtherNetwork

CURVE = {e: 0.6 + 0.002 * e for e in range(5, 61, 5)}
UNSURE = Judgement("test:dice", "a", "b", None, "seeds_overlap_images", {"d": 0.0})


def evidence(*groups: Group, judgements: list[Judgement], seeds: list[Seeds] | None = None) -> Evidence:
    """Of runs without test scores, as far as a rule needs it."""
    return Evidence(list(groups), {}, [], (1, 5), [], None, [], None, seeds or [], [], judgements)


def asked_seeds(first: dict[int, float], second: dict[int, float], difference: float) -> list[dict]:
    groups = [
        group(name, CURVE, tuple(by), width) for width, (name, by) in enumerate({"a": first, "b": second}.items(), 1)
    ]
    seeds = [Seeds(n, "dice", by, seed_mean(list(by.values()))) for n, by in (("a", first), ("b", second))]
    judgement = replace(UNSURE, values={"d": difference})
    found = advice(evidence(*groups, judgements=[judgement], seeds=seeds))
    return [message.values for message in found if message.key == "next_more_seeds"]


def test_more_seeds_are_asked_for_by_the_spread_that_decides() -> None:
    """Seeds that spread by much say little of the number, if their differences spread by little."""
    first = {0: 0.60, 1: 0.70, 2: 0.80}
    second = {0: 0.63, 1: 0.70, 2: 0.83}
    (found,) = asked_seeds(first, second, 0.02)
    assert found["n"] == seeds_needed(first, second, 0.02) and 3 < found["n"] < 15
    assert (found["n_a"], found["n_b"], found["target"]) == (3, 3, 0.02)


def test_no_more_seeds_are_asked_for_than_there_are() -> None:
    """A difference too small to matter is not worth the seeds that would show it."""
    first = {0: 0.60, 1: 0.70, 2: 0.80}
    second = {0: 0.6005, 1: 0.7012, 2: 0.7996}
    assert seeds_needed(first, second, MIN_DIFFERENCE) <= 3 and asked_seeds(first, second, 0.0004) == []


def of_another_program(one: Group) -> Group:
    def other(log: RunLog) -> RunLog:
        assert log.run is not None
        return replace(log, run=replace(log.run, network=OtherNetwork("plain U-Net", 1, {})))

    return replace(one, logs=tuple(other(log) for log in one.logs))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_options_of_flowseg_are_advised_to_its_own_runs_only(lang: str) -> None:
    """Too few validations, and falls: the advice names options that another program does not have."""
    falling = {20: 0.7, 40: 0.6, 60: 0.7}
    words, own = Words(lang), group("a", falling)  # type: ignore[arg-type]
    for one, options in ((own, True), (of_another_program(own), False)):
        found = {
            m.key: words.say(m)
            for m in advice(evidence(one, group("b", CURVE), judgements=[]))
            if one.logs[0].name in m.values.get("name", "").split(", ")
        }
        said = " ".join(found.values())
        assert len([key for key in found if key.startswith(("next_validate", "next_steady"))]) == 2
        assert ("--train.validate-every" in said and "optim.lr" in said) == options
        assert ("--train" in said or "optim." in said) == options


def test_a_group_against_a_single_training_is_not_one_value_against_one() -> None:
    """Nor are its networks two."""
    a, b = group("a", CURVE, (0, 1, 2)), group("b", {e: d + 0.02 for e, d in CURVE.items()}, (0,), width=2)
    judged = judge_pair(a, b, {"a": 1, "b": 1}, (1, 5), [], 1, {})
    whole = evidence(a, b, judgements=judged)
    rules = {judgement.item: judgement.reason for judgement in judged}
    assert rules == {
        "best_dice": "one_training",
        "equal_epochs": "wins_epochs",
        "early": "few_common",
        "parameters": "same_count",
    }
    words = Words("en")
    said = [words.say(message) for message in (*conclusions(whole), *limits(whole))]
    said += [words(judgement.reason, **judgement.values) for judgement in judged]
    assert "Best validation Dice: a 0.7210 (mean of 3 trainings), b 0.7400 (mean of 1 training)." in said
    assert not any(wrong in " ".join(said) for wrong in ("One value", "one value", "two train"))


def test_two_groups_of_one_set_up_are_means_too() -> None:
    a, b = group("a", CURVE, (0, 1)), group("b", CURVE, (2, 3))
    judged = judge_pair(a, b, {"a": 1, "b": 1}, None, [], 1, {})
    assert {j.reason for j in judged} == {"seeds_only", "same_count"}
    said = [message.key for message in conclusions(evidence(a, b, judgements=judged))]
    assert "found_best_means" in said and "found_best" not in said
