"""`flowseg report`: one run on a page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from flowseg.commands.parsing import default_is, parse


@dataclass(frozen=True)
class Report:
    """Show one run on a page: scores, images, learning curves, settings, origin."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    out: Annotated[Path | None, default_is("RUN/report")] = None
    """Folder of the report."""
    lang: Literal["en", "ko"] = "en"
    """Language of the report."""


def report(args: list[str]) -> None:
    from flowseg.reports.run_page import report_run
    from flowseg.runs.folder import open_run

    parsed = parse(Report, args, "report")
    report_run(open_run(parsed.run), parsed.out, parsed.lang)
