"""The kinds of cases: what each does, and its share of the time."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.campaign import commands, corruption, disks, inputs, kills, pairs, signals
from tests.campaign.case import Case


@dataclass(frozen=True)
class Kind:
    """A kind of cases. A case is a function of the seed and its number, as far as processes can be."""

    case: Callable[[Case], None]
    share: float
    """Of the time, relative to the others."""
    what: str
    """What its tries are."""
    confined: int = 0
    """For cases that call flowseg's functions: how many of them one process with limits runs. 0: a case starts
    commands."""


KINDS: dict[str, Kind] = {
    "kills": Kind(kills.case, 2, "kills"),
    "corruption": Kind(corruption.case, 4.5, "damaged files"),
    "signals": Kind(signals.case, 2, "signals"),
    "inputs": Kind(inputs.case, 1, "mutated inputs", confined=200),
    "commands": Kind(commands.case, 1.5, "mutated inputs"),
    "disks": Kind(disks.case, 1.5, "full or read-only disks"),
    "pairs": Kind(pairs.case, 1.5, "pairs of processes"),
}
