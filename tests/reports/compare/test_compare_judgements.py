"""A winner is named by the rule only: each of its conditions refuses by itself."""

from dataclasses import replace

import pytest
from made_groups import group

from flowseg.config import DataConfig, EvalConfig, FlowConfig
from flowseg.evaluation.metric_table import IMAGE_METRICS
from flowseg.reports.compare.differences import Test as ImageTest
from flowseg.reports.compare.judgements import Judgement, corrected, judge_pair
from flowseg.reports.compare.sources import Group

CLEAR = ImageTest("dice", "a", "b", 40, 0.7, 0.75, 0.05, 0.03, 0.07, 1e-6, 1e-5, 0.9, 0.02, 10)


CURVE = {e: 0.6 + 0.002 * e for e in range(5, 61, 5)}
HIGHER = {e: d + 0.02 + (0.002 if e % 10 else -0.002) for e, d in CURVE.items()}


def judged(a: Group, b: Group, test: ImageTest = CLEAR, *by_seed: dict[int, float]) -> dict[str, Judgement]:
    figures = {name: {"dice": scores} for name, scores in zip("ab", by_seed, strict=False)}
    found = judge_pair(a, b, {"a": 10, "b": 20}, (1, 15), [test], 1, figures)
    return {judgement.item: judgement for judgement in found}


def test_clear_differences_win() -> None:
    found = judged(group("a", CURVE), group("b", HIGHER, width=2, losses=0.05))
    assert {item: (j.winner, j.reason) for item, j in found.items()} == {
        "best_dice": (None, "single_values"),
        "equal_epochs": ("b", "wins_epochs"),
        "early": (None, "few_common"),
        "steadiness": ("a", "wins_scatter"),
        "parameters": ("a", "fewer"),
        "test:dice": ("b", "wins_images"),
    }


def test_seeds_of_one_set_up_are_never_different() -> None:
    found = judged(group("a", CURVE), group("b", HIGHER, seeds=(1,), losses=0.05))
    assert {j.reason for item, j in found.items() if item != "parameters"} == {"seeds_only"}
    assert all(j.winner is None for item, j in found.items() if item != "parameters")
    # One config and one seed that still differ: then the data or the software do.
    assert judged(group("a", CURVE), group("b", HIGHER))["test:dice"].winner == "b"


REFUSED = {
    "overlap_images": replace(CLEAR, low=-0.001),
    "holm": replace(CLEAR, p_holm=0.05),
    "few_images": replace(CLEAR, n=5),
    "no_values": replace(CLEAR, low=None, high=None, p=None, p_holm=None),
    "no_direction": replace(CLEAR, metric="mystery"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_unsure_test_names_no_winner(reason: str) -> None:
    test = REFUSED[reason]
    found = judged(group("a", CURVE), group("b", HIGHER, width=2), test)[f"test:{test.metric}"]
    assert (found.winner, found.reason) == (None, reason)


def test_a_lower_error_wins() -> None:
    test = replace(CLEAR, metric="hd95")
    assert judged(group("a", CURVE), group("b", HIGHER, width=2), test)["test:hd95"].winner == "a"


def test_seeds_decide_where_both_have_several() -> None:
    a, b = group("a", CURVE, (0, 1, 2)), group("b", HIGHER, (3, 4, 5), width=2)
    sure = judged(a, b, CLEAR, {0: 0.70, 1: 0.71, 2: 0.72}, {3: 0.75, 4: 0.76, 5: 0.77})
    assert sure["test:dice"].reason == "wins_images_and_seeds" and sure["test:dice"].winner == "b"
    assert sure["best_dice"].reason == "wins_seeds" and sure["best_dice"].winner == "b"
    assert sure["equal_epochs"].reason == "wins_seeds" and sure["early"].reason == "wins_seeds"
    unsure = judged(a, b, CLEAR, {0: 0.60, 1: 0.71, 2: 0.82}, {3: 0.65, 4: 0.76, 5: 0.87})
    assert unsure["test:dice"].reason == "seeds_overlap_images" and unsure["test:dice"].winner is None


def test_epochs_in_common_decide_whether_curves_can_be_compared() -> None:
    a = group("a", CURVE)
    assert judged(a, group("b", {7: 0.7, 11: 0.8}, width=2))["equal_epochs"].reason == "none_common"
    assert judged(a, group("b", {5: 0.7, 11: 0.8}, width=2))["equal_epochs"].reason == "single_values"
    assert judged(a, group("b", {e: HIGHER[e] for e in (5, 10, 15)}, width=2))["equal_epochs"].reason == "few_common"
    level = {e: d + (0.02 if e % 10 else -0.02) for e, d in CURVE.items()}
    assert judged(a, group("b", level, width=2))["equal_epochs"].reason == "overlap_epochs"


def test_alike_losses_are_alike() -> None:
    found = judged(group("a", CURVE), group("b", HIGHER, width=2))["steadiness"]
    assert (found.winner, found.reason) == (None, "alike_scatter")


def test_a_single_spike_does_not_make_a_loss_unsteady() -> None:
    """It has the larger standard deviation; the test is of the mean distance from the median, and so is the winner."""
    a, b = group("a", CURVE, losses=0.001), group("b", HIGHER, width=2, losses=0.04)
    (log,) = a.logs
    rows = [replace(row, loss=row.loss + 0.32) if row.epoch == 30 and row.loss else row for row in log.rows]
    spiked = replace(a, logs=(replace(log, rows=tuple(rows)),))
    found = judged(spiked, b)["steadiness"]
    assert (found.winner, found.reason) == ("a", "wins_scatter")
    assert found.values["value_a"] < found.values["value_b"]


def with_config(one: Group, **sections: object) -> Group:
    """The group with other sections in the config of its only run."""
    run = one.logs[0].run
    assert run is not None
    return replace(one, logs=(replace(one.logs[0], run=replace(run, config=replace(run.config, **sections))),))


def test_figures_of_the_training_are_corrected_for_the_number_of_pairs() -> None:
    """Each item by itself; the scores of the test images have been corrected already."""
    pairs = (("a", "b", 0.01), ("a", "c", 0.03), ("b", "c", 0.2))
    found = [
        Judgement(item, a, b, b if p < 0.05 else None, "rule", {"p": p})
        for item in ("best_dice", "steadiness", "test:dice")
        for a, b, p in pairs
    ]
    found.append(Judgement("best_dice", "a", "d", None, "single_values"))  # no test
    after = corrected(found)
    for item in ("best_dice", "steadiness"):
        assert [(j.winner, j.reason, round(j.values["p"], 9)) for j in after if j.item == item and j.values] == [
            ("b", "rule", 0.03),
            (None, "holm_pairs", 0.06),
            (None, "rule", 0.2),
        ]
    assert [j for j in after if j.item == "test:dice"] == [j for j in found if j.item == "test:dice"]
    assert [j.winner for j in corrected(found[1:2])] == ["c"]  # a single pair


def test_losses_of_other_flows_are_not_compared() -> None:
    b = with_config(group("b", HIGHER, width=2, losses=0.05), flow=FlowConfig(sigma=0.0))
    assert judged(group("a", CURVE), b)["steadiness"].reason == "other_loss"


@pytest.mark.parametrize("metric", [row.key for row in IMAGE_METRICS if row.of_probability])
def test_the_calibration_of_a_sauna_map_names_no_winner(metric: str) -> None:
    """Metrics that rank pixels, and the calibration of probabilities, do."""
    test = replace(CLEAR, metric=metric)
    a, b = group("a", CURVE), group("b", HIGHER, width=2)
    gaussian = with_config(
        b, flow=FlowConfig(family="gaussian"), data=DataConfig(target="sauna"), eval=EvalConfig(sampler="midpoint")
    )
    for pair in ((a, replace(gaussian, name="b")), (replace(gaussian, name="a"), replace(a, name="b"))):
        found = judged(*pair, test)[f"test:{metric}"]
        assert (found.reason == "no_probability") == (metric in ("ece", "brier")) == (found.winner is None)
    assert judged(a, b, test)[f"test:{metric}"].winner is not None
