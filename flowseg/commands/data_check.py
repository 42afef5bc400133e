"""`flowseg data check`: what is in a data set, and what is wrong or odd about it."""

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from flowseg.bounds import Natural, at_most
from flowseg.commands.parsing import default_is, parse
from flowseg.errors import UserError


@dataclass(frozen=True)
class DataCheck:
    """Check a data set: mistakes, duplicates, odd labels.

    It reads every file of train, val and test once, prints what it finds, and writes a page with the labels drawn over
    the images. An error is what training would refuse, a warning what may make results wrong, a note what is good to
    know. The exit status is 1 if there is an error, else 0.
    """

    root: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ROOT")]
    """The data set's folder, which holds train, val and test."""
    out: Annotated[Path | None, default_is("NAME-check.html in the working folder")] = None
    """The page, one HTML file. NAME is that of ROOT."""
    images: Annotated[Natural, at_most(10_000, "no browser shows more")] = 300
    """How many images the page shows at most. Of a larger set it shows those with findings first, then others drawn
    by a fixed seed."""
    json: bool = False
    """Print the findings and what is known of each image as JSON instead of tables."""


MOST_LINES = 30
"""Findings that the terminal shows; the page has all of them."""


def data_check(args: list[str]) -> None:
    from flowseg.progress import console, messages_on_stderr
    from flowseg.reports import data_check_tables as tables
    from flowseg.reports.data_check import check_data
    from flowseg.reports.terminal import terminal_table

    parsed = parse(DataCheck, args, "data check")
    out = parsed.out or Path(f"{parsed.root.resolve().name or 'data'}-check.html")
    with messages_on_stderr() if parsed.json else nullcontext():
        summary = check_data(parsed.root, out, parsed.images)
    if parsed.json:
        print(json.dumps(summary, indent=1))
    else:
        console.print(terminal_table(tables.splits(summary)))
        for name, about in tables.recipes(summary).items():
            console.print(f"{name}: {about}")
        findings = summary["findings"]
        for finding in findings[:MOST_LINES]:
            console.print(f"{finding['severity']}: {finding['message']}")
        if len(findings) > MOST_LINES:
            console.print(f"and {len(findings) - MOST_LINES} more on the page")
        console.print(f"{tables.headline(summary)} The page: {out}")
    if summary["counts"]["error"]:
        raise UserError(f"{parsed.root}: training would refuse it; the errors are listed in {out}")
