"""Options shared by the commands that use a trained run."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro

from flowseg.commands.parsing import parse
from flowseg.config import EvalConfig

if TYPE_CHECKING:
    from flowseg.runs.folder import Run


@dataclass(frozen=True, kw_only=True)
class OnRun:
    """Options of every command on a run."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    embeddings: str | None = None
    """A store that holds the images' embeddings; default: the run's own, or image-stats."""


@dataclass(frozen=True, kw_only=True)
class OnSplit(OnRun):
    """Options of the commands on the images of a split."""

    split: Literal["train", "val", "test"] = "test"
    """The split."""
    data: str | None = None
    """A data set to use instead of the run's own."""


@dataclass(frozen=True, kw_only=True)
class Sampling(OnRun):
    """Options of the commands that sample masks; every field of EvalConfig is one."""

    settings: Annotated[EvalConfig, tyro.conf.arg(name="")] = field(default_factory=EvalConfig)


S = TypeVar("S", bound=Sampling)


def with_run(cls: type[S], args: list[str], command: str) -> "tuple[S, Run]":
    """Returns a command's options and the run they name, whose own settings are kept where no option is given."""
    from flowseg.runs.folder import open_run

    # The run has to be opened before its settings can be defaults: hence the command line is parsed twice.
    parsed = parse(cls, args, command)
    run = open_run(parsed.run)
    return parse(cls, args, command, default=replace(parsed, settings=run.config.eval)), run
