"""The commands that use a trained run: `flowseg eval`, `flowseg predict` and `flowseg analyze film`."""

import re
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro

from flowseg.bounds import Bound, Seed, annotated_fields, at_most
from flowseg.commands.on_cluster import OnCluster, as_options, check_cluster_options
from flowseg.commands.parsing import default_is, parse
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
    """The run's folder, an exported model's, or hf://OWNER/NAME. flowseg eval, predict and app also take phantoms, a
    small model that comes with flowseg, or a folder of runs, whose probabilities they average."""
    embeddings: Annotated[str | None, default_is("the run's own, or image-stats")] = None
    """A store that holds the images' embeddings."""


@dataclass(frozen=True, kw_only=True)
class OnSplit(OnRun):
    """Options of the commands on the images of a split."""

    split: Literal["train", "val", "test", "fold"] = "test"
    """The split; fold: the images that the training of a fold has left out (data.fold)."""
    data: Annotated[str | None, default_is("the run's own")] = None
    """A data set."""


def _own_settings() -> type[EvalConfig]:
    """Returns EvalConfig with fields whose default, the help says, is the run's own setting."""
    own = default_is("the run's own")
    hints = annotated_fields(EvalConfig)
    made = [(f.name, Annotated[hints[f.name], own], field(default=f.default)) for f in fields(EvalConfig)]
    cls = make_dataclass("OwnSettings", made, bases=(EvalConfig,), frozen=True)
    cls.path = EvalConfig.path  # type: ignore[attr-defined]
    return cls


@dataclass(frozen=True, kw_only=True)
class Sampling(OnRun):
    """Options of the commands that sample masks; every field of EvalConfig is one."""

    settings: Annotated[EvalConfig, tyro.conf.arg(name="", constructor=_own_settings())] = field(
        default_factory=EvalConfig
    )


S = TypeVar("S", bound=Sampling)


def with_runs(cls: type[S], args: list[str], command: str) -> "tuple[S, list[Run]]":
    """Returns a command's options and the run or runs they name, whose own settings hold where no option is given."""
    from flowseg.runs.ensemble import open_runs

    # Runs have to be opened before their settings can be defaults: hence the command line is parsed twice.
    parsed = parse(cls, args, command)
    runs = open_runs(parsed.run)
    found = parse(cls, args, command, default=replace(parsed, settings=runs[0].config.eval))
    return replace(found, settings=EvalConfig(**vars(found.settings))), runs


@dataclass(frozen=True, kw_only=True)
class Eval(Sampling, OnSplit):
    """Score a run's best checkpoint on a split."""

    out: Annotated[Path | None, default_is("RUN/eval/SPLIT")] = None
    """Folder of the scores. If data, embeddings or sampling differ from the run's own, the
    folder's name says what differs, and the run's own scores stay."""


def evaluate(args: list[str]) -> None:
    from flowseg.evaluation.evaluate import evaluate_run
    from flowseg.evaluation.place import make_place
    from flowseg.runs.prepare import prepare_for, with_sources
    from flowseg.runs.trained import Trained

    parsed, (run, *others) = with_runs(Eval, args, "eval")
    # Before the data are read.
    out = make_place(parsed.out) if parsed.out is not None else None
    if others:
        _evaluate_together(parsed, [run, *others], out)
        return
    config = with_sources(run.config, parsed.data, parsed.embeddings)
    prepared = prepare_for(run, config, dict.fromkeys(("val", parsed.split)))
    trained = Trained.open(run, parsed.settings, data=parsed.data, embeddings=parsed.embeddings, prepared=prepared)
    evaluate_run(trained, parsed.split, prepared, out)


def _evaluate_together(parsed: Eval, runs: "list[Run]", out: Path | None) -> None:
    """Scores runs of one config as one, in FOLDER/eval/test unless another folder is asked for."""
    from flowseg.evaluation.evaluate import evaluate_together
    from flowseg.evaluation.place import make_place
    from flowseg.runs.ensemble import open_together
    from flowseg.runs.prepare import is_own_data, prepare_for, with_sources

    own = runs[0].config
    on_own = is_own_data(own, parsed.data)
    if parsed.split != "test" and on_own:
        raise UserError(
            f"--split {parsed.split}: some runs in {parsed.run} were trained on these images; together they can be "
            "scored on test, or on another data set (--data)"
        )
    if out is None:
        if not on_own or (parsed.embeddings, parsed.settings) != (None, own.eval):
            raise UserError(
                f"{parsed.run}: with other data, embeddings or sampling than its runs', give --out as well"
            )
        out = make_place(parsed.run / "eval" / parsed.split)
    whole = replace(own, data=replace(own.data, fold=None))
    config = with_sources(whole, parsed.data, parsed.embeddings)
    prepared = prepare_for(runs[0], config, dict.fromkeys(("val", parsed.split)))
    evaluate_together(open_together(runs, parsed.settings), parsed.split, prepared, out)


@dataclass(frozen=True, kw_only=True)
class Predict(OnCluster, Sampling):
    """Segment new images with a run, or with several as one."""

    images: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)"),
    ]
    """Images (png, jpg, tif, pgm, ppm, bmp, gif, DICOM), or folders of them."""
    out: Path
    """Folder for the masks, probabilities and overlays."""
    frames: str = "all"
    """Frames of DICOM series, counted from 1, for example 3,7,10-14."""
    fov: Annotated[Path | None, default_is("the whole image counts")] = None
    """Folder with the field of view of each image: a mask of the image's name, white inside. Nothing is predicted
    outside."""
    resume: bool = False
    """Keep the images in --out that an interrupted call has finished. Outputs that were made otherwise are refused."""


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

    parsed, runs = with_runs(Predict, args, "predict")
    if not parsed.images:
        raise UserError("flowseg predict: no images given; name one or more image files")
    check_cluster_options(parsed)
    frames = parse_frames(parsed.frames)
    if parsed.cluster is not None:
        from flowseg.commands.predict_on_cluster import predict_on_cluster

        if parsed.resume:
            raise UserError("--resume: with --cluster the same command goes on by itself; leave it out")
        options = [*as_options(parsed.settings), "--frames", parsed.frames]
        options += ["--embeddings", parsed.embeddings] if parsed.embeddings is not None else []
        options += ["--fov", str(parsed.fov)] if parsed.fov is not None else []
        predict_on_cluster(parsed, runs[0], options)
        return
    predict_images(
        runs,
        parsed.images,
        parsed.out,
        settings=parsed.settings,
        frames=frames,
        embeddings=parsed.embeddings,
        fov=parsed.fov,
        resume=parsed.resume,
    )


@dataclass(frozen=True, kw_only=True)
class AnalyzeFilm(OnSplit):
    """Report what the embeddings contribute to a trained FiLM run."""

    images: Annotated[Several | None, default_is("all")] = None
    """Number of images, a random choice by the seed."""
    out: Annotated[Path | None, default_is("RUN/analysis/film-SPLIT")] = None
    """Folder of the report."""
    seed: Seed = 0
    """Seed for the choice of images, for which other image lends its embedding, and for the bootstrap."""
    lang: Literal["en", "ko"] = "en"
    """Language of the report."""


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
        lang=parsed.lang,
    )
