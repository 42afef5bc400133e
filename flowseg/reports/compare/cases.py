"""The choice of images for the gallery: those where set-ups differ most, and those where all do badly."""

from dataclasses import dataclass

import numpy as np

from flowseg.reports.compare.scores import Values

PER_KIND = 3
"""Images of each kind."""

IMPROVED, WORSENED, HARDEST = "improved", "worsened", "hardest"

_LEAST = 5e-4
"""Dice; a smaller difference would not show in a table of three decimals."""


@dataclass(frozen=True)
class Case:
    """One image of the gallery."""

    key: str
    kinds: tuple[str, ...]
    """Why it is shown."""
    against: tuple[str, ...]
    """For each `improved` and `worsened` of the kinds, which come first, the group that did better or worse than the
    first."""
    dice: dict[str, float]
    """By group."""


def choose_cases(keys: tuple[str, ...], dice: dict[str, Values], per_kind: int = PER_KIND) -> list[Case]:
    """Returns the images that each later group improved and worsened most against the first, then the hardest for all.

    An image is returned once, with all its reasons. Ties keep the order of the images.
    """
    names = list(dice)
    reasons: dict[int, list[tuple[str, str | None]]] = {}
    for name in names[1:]:
        difference = dice[name] - dice[names[0]]
        for kind, gain in ((IMPROVED, difference), (WORSENED, -difference)):
            order = [int(i) for i in np.argsort(-gain, kind="stable") if gain[i] >= _LEAST]
            for i in order[:per_kind]:
                reasons.setdefault(i, []).append((kind, name))
    mean = np.mean([dice[name] for name in names], axis=0)
    for i in np.argsort(mean, kind="stable")[:per_kind]:
        reasons.setdefault(int(i), []).append((HARDEST, None))
    return [
        Case(
            keys[i],
            tuple(kind for kind, _ in found),
            tuple(name for _, name in found if name is not None),
            {name: float(dice[name][i]) for name in names},
        )
        for i, found in reasons.items()
    ]
