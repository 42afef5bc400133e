"""`flowseg data`: brings public data sets, and images of your own, into flowseg's folders."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from flowseg.bounds import Bound, Seed
from flowseg.commands.parsing import default_is, parse

if TYPE_CHECKING:
    from flowseg.datasets.build import Drawing
    from flowseg.datasets.write import Built

Share = Annotated[float, Bound(lambda x: 0 <= x < 1, "must be at least 0 and less than 1")]
Name = Literal[
    "drive",
    "chase-db1",
    "stare",
    "hrf",
    "fives",
    "arcade",
    "dca1",
    "xcad",
    "octa500-3mm",
    "octa500-6mm",
    "rossa",
    "rossa-manual",
]


@dataclass(frozen=True)
class DataImport:
    """Import a public vessel data set.

    Its files are read as they were downloaded, without being unpacked; docs/datasets.md says which to download. The
    splits that the set has are kept, the others are drawn by patient where the names tell the patient."""

    name: tyro.conf.Positional[Name]
    """The data set."""
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """What was downloaded: a folder, which may hold archives, or a zip or tar archive."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to write; it must not exist."""
    val: Annotated[Share | None, default_is("0.1")] = None
    """Share of the training images to draw for validation, if the set has no validation images."""
    test: Annotated[Share | None, default_is("0.2")] = None
    """Share of the images to draw for test, if the set has no test images."""
    seed: Seed = 0
    """Different seeds draw different splits."""
    classes: Annotated[tuple[str, ...] | None, default_is("all segments of ARCADE, LargeVessel of OCTA-500")] = None
    """Of a set with several classes, those that count as vessel."""
    label_values: Annotated[tuple[str, ...] | None, default_is("all but 0, of which there must be one")] = None
    """The grey values of a label that count as vessel, for example 255 or 128-255."""


@dataclass(frozen=True)
class DataSplit:
    """Make a data set of a folder of images and one of labels."""

    images: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGES")]
    """The folder of images."""
    labels: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LABELS")]
    """The folder of labels; it may be the same."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to write; it must not exist."""
    val: Share = 0.1
    """Share of the images for validation."""
    test: Share = 0.2
    """Share of the images for test."""
    seed: Seed = 0
    """Different seeds draw different splits."""
    images_pattern: str = "{}.*"
    """How images are called: {} stands for what an image and its label share, * for anything."""
    labels_pattern: str = "{}.*"
    """How labels are called, for example {}_manual1.gif."""
    group: str | None = None
    """A regular expression that finds the patient in what stands for {}, for example ^[0-9]+; the images of a patient
    are kept in one split."""
    label_values: Annotated[tuple[str, ...] | None, default_is("all but 0, of which there must be one")] = None
    """The grey values of a label that count as vessel, for example 255 or 128-255."""


def data_import(args: list[str]) -> None:
    from flowseg.datasets.build import import_set
    from flowseg.datasets.table import SETS
    from flowseg.progress import console

    parsed = parse(DataImport, args, "data import")
    given = {split: share for split, share in (("val", parsed.val), ("test", parsed.test)) if share is not None}
    _write(
        parsed.out,
        lambda drawing: import_set(parsed.name, parsed.source, parsed.out, drawing, parsed.classes),
        given,
        parsed.seed,
        parsed.label_values,
    )
    public = SETS[parsed.name]
    console.print(f"licence: {public.licence}")
    console.print(f"please cite: {public.citation}")


def data_split(args: list[str]) -> None:
    from flowseg.datasets.build import split_folders

    parsed = parse(DataSplit, args, "data split")
    patterns = (parsed.images_pattern, parsed.labels_pattern)
    _write(
        parsed.out,
        lambda drawing: split_folders(parsed.images, parsed.labels, parsed.out, drawing, patterns, parsed.group),
        {"val": parsed.val, "test": parsed.test},
        parsed.seed,
        parsed.label_values,
    )


def _write(
    out: Path,
    build: "Callable[[Drawing], Built]",
    shares: dict[str, float],
    seed: int,
    label_values: tuple[str, ...] | None,
) -> None:
    """Builds a data set, which a signal stops between two images, and says what was written."""
    from flowseg.datasets.build import Drawing
    from flowseg.datasets.pixels import Values
    from flowseg.progress import console
    from flowseg.training.interrupt import stop_on_signals

    vessel = Values.parse(label_values) if label_values else None
    with stop_on_signals("after the present image; nothing is written") as stop:
        built = build(Drawing(shares, seed, vessel, stop.check))
    console.print(f"{out}: {', '.join(f'{n} {split}' for split, n in built.counts.items())} images")
    for note in built.notes:
        console.print(f"note: {note}")
