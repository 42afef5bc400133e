"""The commands that use a trained run: `flowseg eval`, `flowseg predict` and `flowseg analyze film`."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro

from flowseg.bounds import Bound, Seed, at_most
from flowseg.commands.parsing import parse
from flowseg.config import EvalConfig
from flowseg.errors import UserError

if TYPE_CHECKING:
    from flowseg.runs.folder import Run

Several = Annotated[
    int,
    Bound(lambda n: n >= 2, "another image's embedding takes two or more images; give at least 2"),
    at_most(1_000_000, "no split has more images"),
]


@dataclass(frozen=True, kw_only=True)
class OnRun:
    """Options of every command on a run."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
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


@dataclass(frozen=True, kw_only=True)
class Eval(Sampling, OnSplit):
    """Score a run's best checkpoint on a split.

    Sampling options that are not given keep the run's own settings, whatever default is shown below.
    """

    out: Path | None = None
    """Folder of the scores; default: RUN/eval/SPLIT. If data, embeddings or sampling differ from the run's own, the
    folder's name says what differs, and the run's own scores stay."""


def evaluate(args: list[str]) -> None:
    from flowseg.evaluation.evaluate import evaluate_run
    from flowseg.evaluation.place import make_place
    from flowseg.runs.prepare import prepare_for, with_sources
    from flowseg.runs.trained import Trained

    parsed, run = with_run(Eval, args, "eval")
    # Before the data are read.
    out = make_place(parsed.out) if parsed.out is not None else None
    config = with_sources(run.config, parsed.data, parsed.embeddings)
    prepared = prepare_for(run, config, dict.fromkeys(("val", parsed.split)))
    trained = Trained.open(run, parsed.settings, data=parsed.data, embeddings=parsed.embeddings, prepared=prepared)
    evaluate_run(trained, parsed.split, prepared, out)


@dataclass(frozen=True, kw_only=True)
class Predict(Sampling):
    """Segment new images with a run.

    Sampling options that are not given keep the run's own settings, whatever default is shown below.
    """

    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE [IMAGE ...]")]
    """Images (png, jpg, tif, pgm, bmp, DICOM), or folders of them."""
    out: Path
    """Folder for the masks, probabilities and overlays."""
    frames: str = "all"
    """Frames of DICOM series, counted from 1, for example 3,7,10-14."""
    fov: Path | None = None
    """Folder with the field of view of each image: a mask of the image's name, white inside. Nothing is predicted
    outside."""


def parse_frames(text: str) -> list[int] | None:
    """Returns the frame numbers of a text such as `3,7,10-14` in ascending order, or None for `all`.

    Raises:
        UserError: anything else.
    """
    if text == "all":
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last:
            raise UserError(f"--frames {text}: give numbers and ranges, counted from 1, such as 3,7,10-14")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def predict(args: list[str]) -> None:
    from flowseg.evaluation.prediction import predict_images

    parsed, run = with_run(Predict, args, "predict")
    if not parsed.images:
        raise UserError("flowseg predict: no images given; name one or more image files")
    frames = parse_frames(parsed.frames)
    predict_images(
        run,
        parsed.images,
        parsed.out,
        settings=parsed.settings,
        frames=frames,
        embeddings=parsed.embeddings,
        fov=parsed.fov,
    )


@dataclass(frozen=True, kw_only=True)
class AnalyzeFilm(OnSplit):
    """Report what the embeddings contribute to a trained FiLM run."""

    images: Several | None = None
    """Number of images, a random choice by the seed; default: all."""
    out: Path | None = None
    """Folder of the report; default: RUN/analysis/film-SPLIT."""
    seed: Seed = 0
    """Seed for the choice of images, for which other image lends its embedding, and for the bootstrap."""


def analyze_film(args: list[str]) -> None:
    from flowseg.reports import film
    from flowseg.runs.folder import open_run

    parsed = parse(AnalyzeFilm, args, "analyze film")
    film.analyze_film(
        open_run(parsed.run),
        parsed.split,
        data=parsed.data,
        embeddings=parsed.embeddings,
        images=parsed.images,
        out=parsed.out,
        seed=parsed.seed,
    )
