"""`flowseg compare`: reports how runs differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from flowseg.bounds import MOST_EPOCHS, Natural, at_most
from flowseg.commands.parsing import default_is, parse

Epoch = Annotated[Natural, at_most(MOST_EPOCHS, "no log has more")]


@dataclass(frozen=True)
class Compare:
    """Report whether and how runs differ."""

    runs: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)")
    ]
    """Two or more run folders, CSV files of other tools (epoch,train_loss,val_dice), folders of run folders, or
    patterns in quotes. Runs of one config with different seeds form a group."""
    out: Path
    """Folder of the report."""
    lang: Literal["en", "ko"] = "en"
    """Language of the report."""
    early: Annotated[tuple[Epoch, Epoch] | None, default_is("the first epochs, at most 15, that all runs have")] = None
    """First and last epoch of the early phase."""


def compare(args: list[str]) -> None:
    from flowseg.reports.compare.report import compare_runs

    parsed = parse(Compare, args, "compare")
    compare_runs(parsed.runs, parsed.out, parsed.lang, parsed.early)
