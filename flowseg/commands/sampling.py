"""Options of commands on a trained run; where those of sampling are silent, the run's own config speaks."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import tyro

from flowseg.commands.parsing import parse
from flowseg.config import EvalConfig

if TYPE_CHECKING:
    from flowseg.runs.folder import Run


@dataclass(frozen=True, kw_only=True)
class OnRun:
    """What commands on a run have in common."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    embeddings: str | None = None
    """A store that holds the images' embeddings; default: the run's own, or image-stats."""


@dataclass(frozen=True, kw_only=True)
class OnSplit(OnRun):
    """What commands on the images of a split have in common."""

    split: Literal["train", "val", "test"] = "test"
    """Which images."""
    data: str | None = None
    """Another data set than the run's own."""


@dataclass(frozen=True, kw_only=True)
class Sampling(OnRun):
    """What commands that sample with a run have in common."""

    ensemble: int = 1
    """Samples per image; with 2 or more also uncertainties. Default: the run's eval.ensemble."""
    tta: bool = False
    """Average over flips and quarter turns. Default: the run's eval.tta."""
    threshold: Literal["fixed", "tuned"] = "fixed"
    """Vessel is what is more probable than 0.5, or than what was tuned on the run's validation images. Default: the
    run's eval.threshold."""

    def settings(self, own: EvalConfig) -> EvalConfig:
        """The run's own settings with those of the command line."""
        return replace(own, ensemble=self.ensemble, tta=self.tta, threshold=self.threshold)


S = TypeVar("S", bound=Sampling)


def with_run(cls: type[S], args: list[str], command: str) -> "tuple[S, Run]":
    """Parses a command on a run, and opens that."""
    from flowseg.runs.folder import open_run

    parsed = parse(cls, args, command)
    run = open_run(parsed.run)
    # Again, with what the run's config says where the command line says nothing.
    own = run.config.eval
    default = replace(parsed, ensemble=own.ensemble, tta=own.tta, threshold=own.threshold)
    return parse(cls, args, command, default=default), run
