"""The verdict follows its rule: each of its conditions decides by itself."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flowseg.evaluation.paired import Paired
from flowseg.reports import verdict
from flowseg.reports.compare.words import Words
from flowseg.reports.messages import Message
from flowseg.reports.verdict import BIAS, NONE, TOO_FEW, USED, WRONG, established, images_needed, judge

CLEAR = Paired(mean=0.02, low=0.01, high=0.03, p=0.001, n=40, changed=40, detectable=0.008)
HARM = replace(CLEAR, mean=-0.02, low=-0.03, high=-0.01)
NOTHING = Paired(mean=0.0, low=0.0, high=0.0, p=1.0, n=40, changed=0, detectable=0.0)
WORDS = Words("en")
FURTHER = {f"no stage {s}": (NOTHING, 1.0) for s in range(4)} | {"mean": (NOTHING, 1.0)}


def say(messages: Sequence[Message]) -> list[str]:
    return [WORDS.say(message) for message in messages]


def outcome(other: Paired, none: Paired, other_p: float = 0.01, none_p: float = 0.01) -> str:
    return judge(other, other_p, none, none_p, FURTHER).outcome


def test_each_outcome_has_its_rule() -> None:
    assert outcome(CLEAR, CLEAR) == outcome(CLEAR, NOTHING) == USED
    assert outcome(HARM, CLEAR) == outcome(HARM, NOTHING) == outcome(HARM, HARM) == WRONG
    assert outcome(NOTHING, CLEAR) == outcome(NOTHING, HARM) == BIAS
    assert outcome(NOTHING, NOTHING) == NONE
    few = replace(CLEAR, n=5)
    assert outcome(few, few) == TOO_FEW


UNSURE = {
    "interval": replace(CLEAR, low=-0.001),
    "small": replace(CLEAR, mean=verdict.MIN_DIFFERENCE - 1e-6, low=0.001, high=0.009),
}


@pytest.mark.parametrize("name", UNSURE)
def test_an_unsure_difference_counts_for_nothing(name: str) -> None:
    assert outcome(UNSURE[name], CLEAR) == BIAS
    assert outcome(NOTHING, UNSURE[name]) == NONE


def test_the_corrected_p_decides_not_the_raw_one() -> None:
    assert outcome(CLEAR, CLEAR, other_p=0.05) == BIAS
    assert outcome(CLEAR, CLEAR, other_p=0.05, none_p=0.05) == NONE
    assert outcome(CLEAR, CLEAR, other_p=0.0499) == USED


def test_the_least_difference_counts() -> None:
    least = replace(CLEAR, mean=verdict.MIN_DIFFERENCE, low=0.001, high=0.009)
    assert established(least, 0.01) and established(replace(least, mean=-0.005, low=-0.009, high=-0.001), 0.01)


def test_a_wrong_embedding_that_does_better_is_a_verdict_of_its_own() -> None:
    """It is not use of the right one, but masks do depend on the embedding: neither is it a bias, nor no effect."""
    for none, p in ((NOTHING, 1.0), (CLEAR, 0.01)):
        found = judge(HARM, 0.01, none, p, FURTHER)
        assert WORDS.say(found.sentence) == "A wrong embedding gives better masks than the right one."
        said = " ".join(say(found.reasons))
        assert "look for mixed-up embeddings" in said and "is not established" not in said


@pytest.mark.parametrize(
    ("none", "said"), [(CLEAR, "Masks are better with FiLM"), (HARM, "Masks are worse with FiLM")]
)
def test_a_bias_does_not_deny_a_small_dependence_on_the_image(none: Paired, said: str) -> None:
    found = judge(UNSURE["small"], 0.01, none, 0.01, FURTHER)
    assert WORDS.say(found.sentence) == "A learned bias: no relevant dependence on the image was shown."
    reasons = " ".join(say(found.reasons))
    assert said in reasons and "difference of 0.005 or more between the right embedding and a wrong one is" in reasons
    assert "own - other is more than chance, but smaller than 0.005" in reasons


@pytest.mark.parametrize(("tests", "needed"), [(2, 7), (4, 8), (7, 9)])
def test_too_few_images_are_those_that_could_show_nothing(tests: int, needed: int) -> None:
    assert images_needed(tests) == needed
    for n in range(2, 12):
        nothing = replace(NOTHING, n=n)
        further = {f"condition {i}": (nothing, 1.0) for i in range(tests - 2)}
        found = judge(nothing, 1.0, nothing, 1.0, further)
        assert (found.outcome == TOO_FEW) == (n < needed)
        assert any(f"at least {needed} images" in reason for reason in say(found.reasons)) == (n < needed)


def test_numbers_and_reservations_are_said() -> None:
    found = judge(CLEAR, 0.0123, NOTHING, 1.0, FURTHER)
    assert WORDS.say(found.sentence) == "The model uses the embedding."
    said = " ".join(say(found.reasons))
    assert "+0.0200" in said and "+0.0100 to +0.0300" in said and "p = 0.012" in said and "40 of 40" in said
    assert "exactly 0 in all 40 images" in said
    reserved = " ".join(say(found.reservations))
    assert "0.0080" in reserved and "one seed" in reserved and "40 images" in reserved
    small = judge(UNSURE["small"], 0.01, NOTHING, 1.0, FURTHER)
    assert any("too small to matter" in reason for reason in say(small.reasons))


def test_what_else_is_established_is_said_without_deciding() -> None:
    further = {**FURTHER, "no stage 1": (CLEAR, 0.02), "no stage 2": (CLEAR, 0.06)}
    found = judge(NOTHING, 1.0, NOTHING, 1.0, further)
    assert found.outcome == NONE
    assert [r for r in say(found.reasons) if "Also established" in r and "own - no stage 1" in r]
    assert not any("no stage 2" in reason for reason in say(found.reasons))


def test_effects_that_may_have_gone_unseen_are_said() -> None:
    wide = replace(NOTHING, detectable=0.02, low=-0.01, high=0.01, changed=40)
    found = judge(wide, 1.0, CLEAR, 0.01, FURTHER)
    assert any("own - other: effects between 0.005 and 0.0200 may" in r for r in say(found.reservations))
    assert not any("own - none: effects" in r for r in say(found.reservations))
    assert not any("unseen" in r for r in say(judge(NOTHING, 1.0, NOTHING, 1.0, FURTHER).reservations))
