"""What `flowseg data check` says about a data set, as a dictionary that JSON can hold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from flowseg.data.check.findings import CLEAR, SEVERITIES, Finding, Recipe
from flowseg.data.check.similar import Similar
from flowseg.data.check.survey import Record, Survey
from flowseg.data.folders import SPLITS

FORMAT = "flowseg data check 1"


def summarize(
    survey: Survey,
    similar: Sequence[Similar],
    findings: Sequence[Finding],
    recipes: Sequence[Recipe],
    kept: float | None,
) -> dict[str, Any]:
    """Returns the findings, and what is known of the splits, the recipes and each image.

    Args:
        survey: the data set as read.
        similar: its pairs of images that are nearly the same.
        findings: what is odd about it.
        recipes: the recipes that it was judged for.
        kept: Dice that its labels keep at the reduced recipe's size; None without training images.
    """
    train = survey.of("train")
    return {
        "format": FORMAT,
        "data": str(survey.root),
        "counts": {severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES},
        "findings": [{**asdict(finding), "images": list(finding.images)} for finding in findings],
        "splits": [_split(split, survey.of(split)) for split in SPLITS],
        "recipes": [
            {**asdict(recipe), "shortest": min(recipe.shorter_side(record.size) for record in train)}
            for recipe in recipes
        ],
        "label_dice": kept,
        "similar": [asdict(pair) for pair in similar],
        "images": [_image(record) for record in survey.records],
    }


def _split(split: str, records: Sequence[Record]) -> dict[str, Any]:
    shares = [record.vessel for record in records]
    contrasts = [record.fit.contrast for record in records if record.fit is not None]
    vessel = {"mean": float(np.mean(shares)), "low": min(shares), "high": max(shares)} if shares else None
    return {
        "split": split,
        "images": len(records),
        "sizes": dict(Counter(_size(record) for record in records).most_common()),
        "depths": dict(Counter(record.depth for record in records).most_common()),
        "vessel": vessel,
        "brighter": sum(value >= CLEAR for value in contrasts),
        "darker": sum(value <= -CLEAR for value in contrasts),
    }


def _size(record: Record) -> str:
    """Returns width x height."""
    return f"{record.size[1]}x{record.size[0]}"


def _image(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "size": _size(record),
        "depth": record.depth,
        "vessel": record.vessel,
        "contrast": None if record.fit is None else record.fit.contrast,
        "content": record.content,
    }
