"""Writing cases as a data set of flowseg: ROOT/{train,val,test}/{image,label,fov}/STEM.png and dataset.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from flowseg import __version__
from flowseg.data.folders import SPLITS
from flowseg.data.folds import ABOUT_FILE
from flowseg.data.image_files import UPRIGHT, check_size, decode, two_valued
from flowseg.datasets.cases import Case
from flowseg.datasets.pixels import Values, read_pixels
from flowseg.datasets.source import SourceFile, check_total
from flowseg.errors import UserError, first_of
from flowseg.files import replaced_folder
from flowseg.progress import task


@dataclass(frozen=True)
class Built:
    """A data set that was written."""

    counts: dict[str, int]
    """Images in each split."""
    notes: list[str]
    """What the user should know of it."""


def write_dataset(
    out: Path,
    cases: Sequence[Case],
    vessel: Values | None,
    about: Mapping[str, Any],
    notes: Sequence[str],
    check: Callable[[], None],
) -> Built:
    """Writes the data set, whole or not at all.

    Args:
        out: its folder, which must not exist.
        cases: each with a split.
        vessel: the grey values of labels that count as vessel; None: the one value other than 0.
        about: what dataset.json says of the data set, besides counts and notes.
        notes: what the user should know of it, to which the writing adds.
        check: is called after each image, and may raise to stop.

    Raises:
        UserError: the folder exists or cannot be written, an image or label cannot be read or kept, or no label has
            any vessel.
    """
    check_out(out)
    check_total([file for case in cases for file in (case.image, *case.label.files(), case.fov) if file])
    _check_stems(cases)
    vessels = 0
    turned: list[str] = []
    missed: list[str] = []
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replaced_folder(out) as part, task("writing images", len(cases)) as advance:
            for case in cases:
                orientation, mask = _write_case(part / str(case.split), case, vessel)
                vessels += int(mask.sum())
                turned += [case.image.path.name] if orientation != UPRIGHT else []
                missed += _missed(case) if vessel is not None and not mask.any() else []
                check()
                advance()
            if not vessels:
                hint = "--label-values names values that they do not have" if vessel else "look at them"
                raise UserError(f"{cases[0].image.path}: no label of the set has any vessel pixel; {hint}")
            counts = {split: sum(case.split == split for case in cases) for split in SPLITS}
            fov = sum(case.fov is not None for case in cases)
            all_notes = [
                *notes,
                *_about(turned, "images with an EXIF orientation, which is not applied: check their labels"),
                *_about(missed, "labels that are not black, but have none of the values of --label-values"),
            ]
            known = {
                **about,
                "notes": all_notes,
                "groups": _groups(cases),
                "counts": counts,
                "field_of_view_masks": fov,
                "written_by": f"flowseg {__version__}",
            }
            (part / ABOUT_FILE).write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            check_out(out)  # nothing that has come there in the meantime is replaced
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another folder") from None
    return Built(counts, all_notes)


def _about(names: Sequence[str], what: str) -> list[str]:
    """Returns a note about some files, of which it names the first; none if there are none."""
    return [f"{what} ({len(names)}): {first_of(names)}"] if names else []


def _missed(case: Case) -> list[str]:
    """Returns the names of an image's label files that are not black."""
    return [file.path.name for file in case.label.files() if decode(file.path, file.read()).any()]


def _groups(cases: Sequence[Case]) -> dict[str, str] | None:
    """Returns the patient or sequence of each image by split/stem; None if every image is alone."""
    groups = {f"{case.split}/{case.stem}": case.group for case in cases}
    return groups if len(set(groups.values())) < len(groups) else None


def check_out(out: Path) -> None:
    """Raises a UserError if `out` exists."""
    if out.exists() or out.is_symlink():
        raise UserError(f"{out}: exists already; choose another folder or remove it")


def _check_stems(cases: Sequence[Case]) -> None:
    """Raises a UserError if two images of a split would be written to one file."""
    taken: dict[tuple[str | None, str], Case] = {}
    for case in cases:
        # Names that differ in case only are one file on some file systems.
        other = taken.setdefault((case.split, case.stem.lower()), case)
        if other is not case:
            raise UserError(f"{case.image.path}: would be written to the same file as {other.image.path}; rename one")


def _write_case(folder: Path, case: Case, vessel: Values | None) -> tuple[int, Bool[np.ndarray, "h w"]]:
    """Writes the files of one image, and returns its EXIF orientation and its mask."""
    stored = read_pixels(case.image)
    size = (stored.pixels.shape[0], stored.pixels.shape[1])
    mask = case.label.mask(size, vessel)
    _write(folder / "image" / f"{case.stem}.png", stored.pixels)
    _write(folder / "label" / f"{case.stem}.png", _as_label(mask))
    if case.fov is not None:
        _write(folder / "fov" / f"{case.stem}.png", _as_label(_field_of_view(case.fov, size)))
    return stored.orientation, mask


def _field_of_view(file: SourceFile, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    remedy, what = "take the masks of the field of view away", "a field of view"
    inside = two_valued(decode(file.path, file.read()), file.path, remedy, what)
    if not inside.any():
        raise UserError(f"{file.path}: a mask of the field of view that is empty; replace it")
    check_size(file.path, inside, size, what)
    return inside


def _as_label(mask: Bool[np.ndarray, "h w"]) -> np.ndarray:
    return np.where(mask, np.uint8(255), np.uint8(0))


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Level 1 takes a sixth of the default's time, and the file of a fundus photograph is an eighth larger.
    Image.fromarray(pixels).save(path, compress_level=1)
