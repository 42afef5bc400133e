"""From a download, or from two folders, to a data set of flowseg."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowseg.datasets.cases import Found
from flowseg.datasets.pairs import pair_files
from flowseg.datasets.pixels import Values
from flowseg.datasets.source import open_source
from flowseg.datasets.splits import draw_splits
from flowseg.datasets.table import SETS
from flowseg.datasets.write import Built, check_out, write_dataset
from flowseg.errors import UserError

SHARES = {"val": 0.1, "test": 0.2}
"""Shares of the images that are drawn for a split that a data set does not have."""


@dataclass(frozen=True)
class Drawing:
    """How the splits that a data set does not have are drawn, and how labels are read."""

    shares: Mapping[str, float]
    """Shares that the user has chosen, by split."""
    seed: int
    vessel: Values | None
    check: Callable[[], None] = lambda: None
    """Called after each image; may raise to stop."""


def import_set(name: str, source: Path, out: Path, drawing: Drawing, classes: Sequence[str] | None = None) -> Built:
    """Writes a public data set into flowseg's folders.

    Args:
        name: a name of `SETS`.
        source: the folder or archive that was downloaded.
        out: the folder to write, which must not exist.
        drawing: the splits to draw, and how labels are read.
        classes: for sets with several classes, those that count as vessel.

    Raises:
        UserError: the files are not those of the set, or cannot be read or written.
    """
    check_out(out)
    public = SETS[name]
    about = {
        "name": name,
        "title": public.title,
        "source": public.site,
        "licence": public.licence,
        "citation": public.citation,
    }
    with open_source(source, public.layout.wanted) as files:
        found = public.layout.find(files, classes)
        if not found.cases:
            raise UserError(f"{source}: has no images named as in {public.title}; see docs/datasets.md for its files")
        return _build(out, found, drawing, about, public.remark)


def split_folders(
    images: Path,
    labels: Path,
    out: Path,
    drawing: Drawing,
    patterns: tuple[str, str],
    group: str | None = None,
) -> Built:
    """Writes images and labels of two folders as a data set; `patterns` and `group` are those of `pair_files`.

    Raises:
        UserError: the files do not pair, or cannot be read or written.
    """
    check_out(out)
    with open_source(images, _is_image_here) as image_files, open_source(labels, _is_image_here) as label_files:
        found = pair_files(image_files, label_files, *patterns, group)
        about = {"name": out.name, "source": None, "licence": None, "citation": None}
        kept = f"images for which {group} finds the same are in one split" if group else "each image by itself"
        return _build(out, found, drawing, about, kept)


def _is_image_here(name: str) -> bool:
    """Whether a file is an image of the folder itself, not of one in it."""
    return "/" not in name and not name.lower().endswith(".json")


def _build(out: Path, found: Found, drawing: Drawing, about: Mapping[str, Any], remark: str) -> Built:
    """Draws the splits that are not published and writes the data set."""
    published = [name for name in SHARES if any(case.split == name for case in found.cases)]
    for name, share in drawing.shares.items():
        if name in published:
            raise UserError(f"--{name} {share:g}: the set has its own {name} images; leave it out")
    shares = {name: share for name, share in {**SHARES, **drawing.shares}.items() if name not in published}
    if sum(shares.values()) >= 1:
        raise UserError(f"--val and --test add up to {sum(shares.values()):g}; they must leave images for training")
    cases = draw_splits(found.cases, shares, drawing.seed)
    split = [f"{name} as published" for name in published]
    split += [f"{name} drawn, {share:g} of the images to draw from" for name, share in shares.items()]
    how = {
        "split": "; ".join([*split, remark]),
        "seed": drawing.seed if shares else None,
        "classes": found.classes or None,
    }
    return write_dataset(out, cases, drawing.vessel, {**about, **how}, found.notes, drawing.check)
