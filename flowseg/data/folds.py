"""Folds of a data set: which of its images a run is trained on, and which it never sees.

The images for training and validation are divided into K parts. The run of fold k trains and validates on the others,
and is scored on part k, the split `fold`. The test images stay what they are. The division depends on the names of the
images and on K alone, so that the runs of all folds, seeds and configs agree on it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flowseg.data.folders import Pair, find_pairs, match_files
from flowseg.errors import UserError, counted, first_of
from flowseg.files import parse_json

FOLD = "fold"
"""The split of the images that a run of a fold never sees."""
ABOUT_FILE = "dataset.json"
"""What `flowseg data` writes beside the splits; its `groups` say which images are of one patient."""

Group = list[Pair]


def all_folds(count: int) -> list[str]:
    """Returns the names of all folds of a cross-validation, as `data.fold` has them."""
    return [f"{k}/{count}" for k in range(1, count + 1)]


def split_pairs(root: Path, split: str, fold: str | None) -> list[Pair]:
    """Returns the image-label pairs of a split, by name.

    Args:
        root: the data set's folder.
        split: train, val, test, or `FOLD` for the images that are left out of a fold's training.
        fold: which fold, for example 2/5; None: the splits are those of the folder.

    Raises:
        UserError: as `find_pairs`; the fold's images are asked for without a fold; there are too few images; or images
            have been moved or renamed without their patients (`lost_patients`).
    """
    if fold is None:
        if split == FOLD:
            raise UserError("split fold: this run was not trained on a fold (data.fold); choose train, val or test")
        return find_pairs(root, split)
    if split not in ("train", "val", FOLD):
        return find_pairs(root, split)
    number, count = (int(part) for part in fold.split("/"))
    train, val = find_pairs(root, "train"), find_pairs(root, "val")
    groups = _groups(root, [*train, *val])
    if len(groups) < count + 1:
        raise UserError(
            f"data.fold = {fold}: the images for training and validation in {root} are of "
            f"{counted(len(groups), 'patient')} (or images, where patients are not known); {count} folds "
            f"take {count + 1} or more: choose fewer folds"
        )
    parts = _divided(groups, count)
    if len(groups) - max(map(len, parts)) < 2:
        raise UserError(
            f"data.fold = {fold}: one fold of {count} leaves a single patient (or image, where patients are not "
            f"known) in {root} for training and validation; choose more folds"
        )
    rest = [group for part in (*parts[: number - 1], *parts[number:]) for group in part]
    found = {FOLD: parts[number - 1]}
    found["val"], found["train"] = _drawn(rest, len(val) / (len(train) + len(val)), number, count)
    pairs = [pair for group in found[split] for pair in group]
    if pairs and len({pair.fov is None for pair in pairs}) > 1:
        raise UserError(f"{root}: either all images of train and val have a field of view, or none")
    # Names of train and val may be the same.
    return sorted((_called(pair, split) for pair in pairs), key=lambda pair: pair.key)


def _called(pair: Pair, split: str) -> Pair:
    """Returns a pair with the name that it has in a fold's split: fold/train-0001."""
    return replace(pair, key=f"{split}/{pair.key.replace('/', '-')}")


def _groups(root: Path, pairs: Sequence[Pair]) -> list[Group]:
    """Returns the images of each patient, sorted by name; each image alone if the data set does not name patients."""
    patients = read_patients(root)
    lost, gone = lost_patients(patients, [pair.key for pair in (*pairs, *match_files(root, "test")[0])])
    if lost:
        raise UserError(
            f"{root / ABOUT_FILE}: its groups name images that are not there ({first_of(gone)}) and lack others "
            f"({first_of(lost)}); correct them, or images that were moved or renamed lose their patient"
        )
    groups: dict[str, Group] = defaultdict(list)
    for pair in pairs:
        groups[patients.get(pair.key, f"image {pair.key}")].append(pair)
    return [groups[name] for name in sorted(groups)]


def lost_patients(patients: Mapping[str, str], names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns images that are there without a patient, and images with one that are not there.

    Both are empty unless there are images of both kinds: they may then be the same, moved or renamed.

    Args:
        patients: what `read_patients` returns.
        names: all images that are there, as split/stem.
    """
    there = set(names)
    lost, gone = sorted(there - patients.keys()), sorted(patients.keys() - there)
    return (lost, gone) if lost and gone else ([], [])


def read_patients(root: Path) -> dict[str, str]:
    """Returns the patient of each image by split/stem, as `groups` in dataset.json tells; nothing if it does not.

    Raises:
        UserError: the file cannot be read.
    """
    file = root / ABOUT_FILE
    if not file.is_file():
        return {}
    try:
        found = parse_json(file.read_text(encoding="utf-8")).get("groups") or {}
        return {str(key): f"patient {patient}" for key, patient in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); restore or remove it") from None


def _divided(groups: Iterable[Group], count: int) -> list[list[Group]]:
    """Returns the groups in parts of about as many images."""
    groups = list(groups)
    order = [groups[i] for i in np.random.default_rng(count).permutation(len(groups))]
    parts: list[list[Group]] = [[] for _ in range(count)]
    for group in sorted(order, key=len, reverse=True):  # stable: groups of one size stay in the drawn order
        min(parts, key=_images).append(group)
    return parts


def _images(groups: Iterable[Group]) -> int:
    return sum(len(group) for group in groups)


def _drawn(groups: Sequence[Group], share: float, number: int, count: int) -> tuple[list[Group], list[Group]]:
    """Returns groups drawn for validation, of about a share of the images but at least one, and the others."""
    rng = np.random.default_rng([count, number])
    order = [groups[i] for i in rng.permutation(len(groups))]
    wanted = max(1, round(share * _images(groups)))
    drawn: list[Group] = []
    while _images(drawn) < wanted and len(order) > 1:
        drawn.append(order.pop())
    return drawn, order
