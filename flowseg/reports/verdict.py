"""Does a FiLM network use its embeddings? The answer follows from the numbers by this rule:

    fewer images than can show anything             -> TOO_FEW
    own - other is established and positive         -> USED
    own - other is established and negative         -> WRONG
    otherwise, own - none is established            -> BIAS
    otherwise                                       -> NONE

A difference of Dice is established where its bootstrap 95 % interval excludes zero, its Holm-corrected Wilcoxon p is
below `ALPHA`, and its mean is at least `MIN_DIFFERENCE` in size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowseg.evaluation.paired import Paired, smallest_p
from flowseg.reports.messages import Message

MIN_IMAGES = 6
"""With fewer images, Wilcoxon's test cannot give p < 0.05 even for one comparison: 2 / 2**5 = 0.06."""

ALPHA = 0.05
"""The usual level, after correction for all conditions that are compared."""

MIN_DIFFERENCE = 0.005
"""Dice. This is a choice: a smaller gain, however certain, does not justify a vision-language model."""

TOO_FEW, USED, WRONG, BIAS, NONE = "too few images", "used", "wrong is better", "bias", "none"

SENTENCES = {
    TOO_FEW: Message("film_verdict_few"),
    USED: Message("film_verdict_used"),
    WRONG: Message("film_verdict_wrong"),
    BIAS: Message("film_verdict_bias"),
    NONE: Message("film_verdict_none"),
}


@dataclass(frozen=True)
class Verdict:
    """The outcome, and the sentences that say why and with what reservations."""

    outcome: str
    """TOO_FEW, USED, WRONG, BIAS or NONE."""
    sentence: Message
    reasons: list[Message]
    reservations: list[Message]


def established(difference: Paired, p_holm: float) -> bool:
    """Whether a difference of Dice is more than chance and large enough to matter."""
    excludes_zero = difference.low > 0 or difference.high < 0
    return excludes_zero and p_holm < ALPHA and abs(difference.mean) >= MIN_DIFFERENCE


def judge(
    other: Paired, other_p: float, none: Paired, none_p: float, further: Mapping[str, tuple[Paired, float]]
) -> Verdict:
    """The verdict from Dice under the image's own embedding minus Dice under `other` and `none` (FiLM switched off).

    `further` holds own minus the conditions that do not decide, by name. Holm's correction of every p covers all.
    """
    deciding = (("own - other", other, other_p), ("own - none", none, none_p))
    tests = 2 + len(further)
    n = other.n
    reasons = [_said(*one) for one in deciding]
    reservations = [
        Message("film_power", {"n": n, "tests": tests, "other": other.detectable, "none": none.detectable}),
        Message("film_one_seed"),
        Message("film_off"),
        Message("film_independent"),
    ]
    if n < MIN_IMAGES or smallest_p(n, tests) >= ALPHA:
        values = {"n": n, "tests": tests, "p": smallest_p(n, tests), "needed": images_needed(tests)}
        reasons.append(Message("film_too_few", values))
        return Verdict(TOO_FEW, SENTENCES[TOO_FEW], reasons, reservations)
    least = {"least": MIN_DIFFERENCE}
    if established(other, other_p):
        outcome = USED if other.mean > 0 else WRONG
        reasons.append(Message("film_right_better" if other.mean > 0 else "film_wrong_better"))
    elif established(none, none_p):
        outcome = BIAS
        reasons.append(Message("film_bias_better" if none.mean > 0 else "film_bias_worse", least))
    else:
        outcome = NONE
        reasons.append(Message("film_neither", least))
    for name, difference, p in deciding:
        if (difference.low > 0 or difference.high < 0) and p < ALPHA and not established(difference, p):
            reasons.append(Message("film_too_small", {"name": name, "least": MIN_DIFFERENCE}))
    for name, (difference, p) in further.items():
        if established(difference, p):
            reasons.append(Message("film_also", _values(f"own - {name}", difference, p)))
    reservations[1:1] = [
        Message("film_unseen", {"name": name, "least": MIN_DIFFERENCE, "detectable": difference.detectable})
        for name, difference, p in deciding
        if not established(difference, p) and difference.detectable > MIN_DIFFERENCE
    ]
    return Verdict(outcome, SENTENCES[outcome], reasons, reservations)


def images_needed(tests: int) -> int:
    """The fewest images with which one of several comparisons can come out below `ALPHA`."""
    n = MIN_IMAGES
    while smallest_p(n, tests) >= ALPHA:
        n += 1
    return n


def _said(name: str, difference: Paired, p: float) -> Message:
    return Message("film_difference" if difference.changed else "film_zero", _values(name, difference, p))


def _values(name: str, difference: Paired, p: float) -> dict[str, Any]:
    return {"name": name, **vars(difference), "p": p}
