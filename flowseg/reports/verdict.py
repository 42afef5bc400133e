"""Does a FiLM network use its embeddings? The answer follows from the numbers by this rule:

    fewer images than can show anything             -> TOO_FEW
    own - other is established and positive         -> USED
    otherwise, own - none is established            -> BIAS
    otherwise                                       -> NONE

A difference of Dice is established where its bootstrap 95 % interval excludes zero, its Holm-corrected Wilcoxon p is
below `ALPHA`, and its mean is at least `MIN_DIFFERENCE` in size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flowseg.evaluation.paired import Paired, smallest_p

MIN_IMAGES = 6
"""With fewer images, Wilcoxon's test cannot give p < 0.05 even for one comparison: 2 / 2**5 = 0.06."""

ALPHA = 0.05
"""The usual level, after correction for all conditions that are compared."""

MIN_DIFFERENCE = 0.005
"""Dice. This is a choice: a smaller gain, however certain, does not justify a vision-language model."""

TOO_FEW, USED, BIAS, NONE = "too few images", "used", "bias", "none"

SENTENCES = {
    TOO_FEW: "Too few images to say.",
    USED: "The model uses the embedding.",
    BIAS: "The modulation is constant: a learned bias.",
    NONE: "No measurable effect.",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome, and the sentences that say why and with what reservations."""

    outcome: str
    """TOO_FEW, USED, BIAS or NONE."""
    sentence: str
    reasons: list[str]
    reservations: list[str]


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
        f"With {n} images of this spread, a mean difference of {other.detectable:.4f} (own - other) or "
        f"{none.detectable:.4f} (own - none) is found in 80 % of repetitions; smaller ones would often be missed.",
        "Only one trained network (one seed) was analysed; how much another one would differ is not known.",
        "FiLM switched off is this network without a part it was trained with, not a network trained without FiLM: "
        "own - none does not say what FiLM gained in training.",
        "Images count as independent; several images of one patient make the intervals too narrow.",
    ]
    if n < MIN_IMAGES or smallest_p(n, tests) >= ALPHA:
        reasons.append(
            f"{n} images: even with every difference of one sign, p after correction for {tests} comparisons would be "
            f"{smallest_p(n, tests):.2g}; at least {images_needed(tests)} images are needed."
        )
        return Verdict(TOO_FEW, SENTENCES[TOO_FEW], reasons, reservations)
    wrong_is_better = established(other, other_p) and other.mean < 0
    if established(other, other_p) and not wrong_is_better:
        outcome = USED
        reasons.append("The right embedding gives better masks than a wrong one.")
    elif established(none, none_p):
        outcome = BIAS
        better = "better" if none.mean > 0 else "worse"
        reasons.append(
            f"Masks are {better} with FiLM than with it switched off, but a wrong embedding does no worse than the "
            "right one: the effect does not depend on the image measurably."
        )
    else:
        outcome = NONE
        reasons.append(
            "Neither the right embedding instead of a wrong one nor FiLM instead of none changes Dice by an "
            f"established {MIN_DIFFERENCE} or more."
            if not wrong_is_better
            else "The right embedding gains nothing over a wrong one, and FiLM gains nothing over none."
        )
    if wrong_is_better:
        reasons.append("A wrong embedding even gives better masks than the right one: look for mixed-up embeddings.")
    for name, difference, p in deciding:
        if (difference.low > 0 or difference.high < 0) and p < ALPHA and not established(difference, p):
            reasons.append(f"{name} is more than chance, but smaller than {MIN_DIFFERENCE}: too small to matter.")
    for name, (difference, p) in further.items():
        if established(difference, p):
            reasons.append(f"Also established: {_said(f'own - {name}', difference, p)}")
    reservations[1:1] = [
        f"{name}: effects between {MIN_DIFFERENCE} and {difference.detectable:.4f} may have gone unseen."
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


def _said(name: str, difference: Paired, p: float) -> str:
    if not difference.changed:
        return f"Dice, {name}: exactly 0 in all {difference.n} images."
    return (
        f"Dice, {name}: mean {difference.mean:+.4f}, 95 % interval {difference.low:+.4f} to {difference.high:+.4f}, "
        f"p = {p:.2g} (Wilcoxon, Holm-corrected), {difference.changed} of {difference.n} images differ."
    )
