"""`flowseg compare`: a report on how runs differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from flowseg.commands.parsing import parse


@dataclass(frozen=True)
class Compare:
    """Report how runs differ, and whether they do."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Two or more: run folders, CSVs of other tools (epoch,train_loss,val_dice), folders of run folders, or patterns
    in quotes. Runs of one config with different seeds form a group."""
    out: Path
    """Folder of the report."""
    lang: Literal["en", "ko"] = "en"
    """Language of the report."""
    early: tuple[int, int] | None = None
    """First and last epoch of the early phase; default: the first epochs that all runs have, 15 at most."""


def compare(args: list[str]) -> None:
    """flowseg compare"""
    from flowseg.reports.compare.report import compare_runs

    parsed = parse(Compare, args, "compare")
    compare_runs(parsed.runs, parsed.out, parsed.lang, parsed.early)
