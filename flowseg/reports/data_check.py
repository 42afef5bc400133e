"""`flowseg data check`: a page about a data set, with its labels drawn over the images."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flowseg.config import DataConfig
from flowseg.data.check.findings import Recipe, find_all
from flowseg.data.check.similar import similar_pairs
from flowseg.data.check.survey import Record, read_survey
from flowseg.data.image_files import as_uint8, read_image, read_label
from flowseg.errors import UserError
from flowseg.evaluation.label_survival import mean_survival, reduced_size, survived_side
from flowseg.evaluation.overlays import outline
from flowseg.files import write_text
from flowseg.progress import task
from flowseg.reports import data_check_tables as tables
from flowseg.reports.data_check_summary import summarize
from flowseg.reports.folder import make_parent
from flowseg.reports.pages import render_html
from flowseg.reports.webp import encode

PAIRS_SHOWN = 24
"""Pairs of similar images that the page shows side by side."""
_SIDE = 256  # longer side of a picture, pixels
_QUALITY = 60  # of a picture; 300 noisy OCTA images then make a page of 9 MB, 221 angiograms one of 3 MB
_THREADS = 2
_TITLE = "Data set: "


def check_data(root: Path, out: Path, images: int, seed: int = 0) -> dict[str, Any]:
    """Checks a data set, writes the page, and returns what it says (flowseg.reports.data_check_summary.summarize).

    Args:
        root: the data set's folder.
        out: the page, an HTML file; an earlier page is replaced.
        images: how many images the page shows at most.
        seed: seeds the choice of images where there are more.

    Raises:
        UserError: there is no such data set, or the page cannot be written.
    """
    _check_free(out)
    survey = read_survey(root)
    records = {record.key: record for record in survey.records}
    with task("comparing images", len(records)) as advance:
        contents = {key: record.content for key, record in records.items()}
        similar = similar_pairs({key: record.signature for key, record in records.items()}, contents, advance)
    train = survey.of("train")
    kept, recipes = None, []
    if train:
        pairs = [record.pair for record in train]
        found = survived_side(pairs)
        kept, reduced = found.kept, reduced_size(len(train), found)
        if reduced.max_side is not None and reduced.max_side != found.side:
            kept = mean_survival(pairs, reduced.max_side)
        recipes = [Recipe("full", DataConfig().crop, None), Recipe("reduced", reduced.crop, reduced.max_side)]
    findings = find_all(survey, similar, recipes)
    summary = summarize(survey, similar, findings, recipes, kept)
    chosen = choose(list(records), [key for finding in findings for key in finding.images], images, seed)
    in_pairs = [key for pair in similar[:PAIRS_SHOWN] for key in (pair.a, pair.b)]
    pictures = _draw([records[key] for key in dict.fromkeys([*chosen, *in_pairs])])
    page = render_html(
        "data_check.j2",
        pictures,
        title=f"{_TITLE}{root.resolve().name}",
        report=summary,
        tables=tables,
        chosen=chosen,
        anchors={key: f"image-{number}" for number, key in enumerate(chosen)},
        seed=seed,
        pairs_shown=PAIRS_SHOWN,
    )
    make_parent(out)
    try:
        write_text(out, page)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    return summary


def choose(keys: Sequence[str], first: Iterable[str], most: int, seed: int) -> list[str]:
    """Returns at most so many of the keys, in their order: those in `first` before others, which are drawn by seed."""
    drawn = np.random.default_rng(seed).permutation(len(keys))
    order = dict.fromkeys([*(key for key in first if key in set(keys)), *(keys[i] for i in drawn)])
    chosen = set(list(order)[:most])
    return [key for key in keys if key in chosen]


def _check_free(out: Path) -> None:
    """Raises a UserError if a path is a folder, or a file other than an earlier page."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give --out a file")
    try:
        with out.open(encoding="utf-8") as file:
            found = file.read(1000)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError):
        found = ""
    if f"<title>{_TITLE}" not in found:
        raise UserError(f"{out}: holds something other than a page of `flowseg data check`; choose another --out")


def _draw(records: Sequence[Record]) -> dict[str, bytes]:
    """Returns a picture of each image with the outline of its label, by name."""

    def draw(record: Record) -> bytes:
        image, _ = read_image(record.pair.image)
        return encode(outline(as_uint8(image), read_label(record.pair.label), _SIDE), quality=_QUALITY)

    with ThreadPoolExecutor(_THREADS) as pool, task("drawing labels", len(records)) as advance:
        pictures = {}
        for record, picture in zip(records, pool.map(draw, records), strict=True):
            pictures[record.key] = picture
            advance()
    return pictures
