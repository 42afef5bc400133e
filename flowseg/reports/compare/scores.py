"""Test scores of run folders, image by image, and the check that they are of one test set."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from flowseg.errors import UserError, counted, first_of
from flowseg.evaluation.uncertainty import EXPECTED_ERROR
from flowseg.files import parse_json
from flowseg.runs.folder import Run

SPLIT = "test"
_LARGEST = 1e12  # far above any score, and far below where sums of squares overflow
REFERENCE = "frangi_"
"""The prefix of the columns of the classical reference, which is the same for every run."""
AGAIN = f"flowseg eval RUN --data ROOT --out RUN/eval/{SPLIT}"
"""The command that scores a run on another data set, as its own scores."""
_ON_ONE_SET = f"evaluate both on one test set: {AGAIN}"

_ABOUT: dict[str, tuple[type, ...]] = {
    "step": (int, type(None)),
    "data": (str, type(None)),
    "threshold": (int, float),
    "min_component": (int,),
    "field_of_view": (bool,),
    "sampler": (dict,),
    "frangi": (dict,),
}
"""The fields of metrics.json that a report reads, and what they hold."""

Values = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Scores:
    """One run's scores on the test split."""

    folder: Path
    """RUN/eval/test"""
    keys: tuple[str, ...]
    metrics: dict[str, Values]
    """A value per image, in the order of `keys`; nan if the metric does not exist for the image."""
    reference: dict[str, Values]
    about: dict[str, Any]
    """The content of metrics.json: checkpoint, data, settings of sampling."""

    @property
    def inside(self) -> bool:
        """Whether the scores are inside the field of view; evaluations of older versions never are."""
        return bool(self.about.get("field_of_view", False))

    def in_order(self, keys: Sequence[str]) -> dict[str, Values]:
        """The metrics, with their values in the order of these images."""
        order = [self.keys.index(key) for key in keys]
        return {name: values[order] for name, values in self.metrics.items()}


def read_scores(run: Run, split: str = SPLIT) -> Scores:
    """Reads RUN/eval/SPLIT/per_image.csv and metrics.json.

    Raises:
        UserError: the run has not been evaluated (the message names the command), or the file is damaged.
    """
    again = f"flowseg eval {run.path}" + (f" --split {split}" if split != SPLIT else "")
    folder = run.path / "eval" / split
    if not (folder / "per_image.csv").is_file():
        raise UserError(f"{run.path}: has no {split} scores; make them with: {again}")
    return read_folder(folder, again)


def read_folder(folder: Path, again: str) -> Scores:
    """Reads the scores in a folder, which the command `again` would make anew.

    Raises:
        UserError: a file is damaged, or a field of metrics.json has another type.
    """
    path = folder / "per_image.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
            names = [name for name in reader.fieldnames or () if name != "image"]
        if any(None in row for row in rows):
            raise ValueError("more values than column names")
        keys = tuple(row["image"] for row in rows)
        columns = {name: np.array([_value(row[name]) for row in rows], np.float64) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"{path}: is not a table of scores ({type(error).__name__}: {error}); make it again with: {again}"
        ) from None
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if not keys or repeated:
        what = f"holds {first_of(repeated)} twice" if repeated else "holds no image"
        raise UserError(f"{path}: {what}; make it again with: {again}")
    return Scores(
        folder,
        keys,
        {name: v for name, v in columns.items() if not name.startswith(REFERENCE) and name != EXPECTED_ERROR},
        {name: values for name, values in columns.items() if name.startswith(REFERENCE)},
        _read_about(folder / "metrics.json", again),
    )


def _read_about(path: Path, again: str) -> dict[str, Any]:
    """Returns what an evaluation says of itself; nothing if it has no such file."""
    if not path.is_file():
        return {}
    try:
        about = parse_json(path.read_text(encoding="utf-8"))
        json.dumps(about, allow_nan=False)  # reports hold it
        if not isinstance(about, dict):
            raise ValueError("no object")
        for name, kinds in _ABOUT.items():
            value = about.get(name)
            if name in about and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
                raise ValueError(f"{name} = {str(value)[:40]}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is not about an evaluation ({error}); make it again with: {again}") from None
    return about


def _value(text: str) -> float:
    if not text.strip():
        return math.nan
    value = float(text)
    if not abs(value) <= _LARGEST:
        raise ValueError(f"{text!r} is no score")
    return value


def check_same_images(all_scores: Sequence[Scores], remedy: str = _ON_ONE_SET) -> None:
    """Raises a UserError unless every evaluation is of the same images, by name and by the classical reference.

    All are inside the field of view, or none is. `remedy` ends the message.

    The reference is a function of image, label and its own tuned settings: with equal settings, other scores mean
    other images or labels under the same names.
    """
    first = all_scores[0]
    for other in all_scores[1:]:
        missing = sorted(set(first.keys) - set(other.keys))
        surplus = sorted(set(other.keys) - set(first.keys))
        if missing or surplus:
            where, names = (first, missing) if missing else (other, surplus)
            raise UserError(
                f"{other.folder}: is of {counted(len(other.keys), 'image')}, {first.folder} of {len(first.keys)}: "
                f"only {where.folder} has {first_of(names)}; {remedy}"
            )
        if first.inside != other.inside:
            inside, whole = (first, other) if first.inside else (other, first)
            raise UserError(
                f"{inside.folder}: is scored inside the field of view, {whole.folder} on whole images; {remedy}"
            )
        settings = [scores.about.get("frangi", {}).get("settings") for scores in (first, other)]
        shared = sorted(first.reference.keys() & other.reference.keys())
        if settings[0] is None or settings[0] != settings[1] or not shared:
            continue
        order = [other.keys.index(key) for key in first.keys]
        for name in shared:
            differ = ~np.isclose(first.reference[name], other.reference[name][order], atol=1.5e-6, equal_nan=True)
            if differ.any():
                key = first.keys[int(np.argmax(differ))]
                raise other_pixels(first, other, key, remedy)


def other_pixels(first: Scores, other: Scores, key: str, remedy: str = _ON_ONE_SET) -> UserError:
    """The error for two evaluations in which one name stands for different images, labels or fields of view."""
    return UserError(
        f"{other.folder}: {key} is another image, or has another label or field of view, than in {first.folder}; "
        f"{remedy}"
    )


def shared_metrics(all_scores: Sequence[Scores]) -> tuple[list[str], list[str]]:
    """Metrics that every evaluation has, in the first one's order, and those that only some have."""
    everywhere = [name for name in all_scores[0].metrics if all(name in s.metrics for s in all_scores)]
    anywhere = dict.fromkeys(name for scores in all_scores for name in scores.metrics)
    return everywhere, [name for name in anywhere if name not in everywhere]


def mean_scores(group: Sequence[Scores], keys: Sequence[str], metrics: Sequence[str]) -> dict[str, Values]:
    """Scores per image averaged over a group's runs, in the order of `keys`; nan if a run has none."""
    ordered = [scores.in_order(keys) for scores in group]
    return {name: np.mean([values[name] for values in ordered], axis=0) for name in metrics}
