"""What a layout finds in a download: images, each with its label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Bool

from flowseg.data.image_files import check_size
from flowseg.datasets.pixels import Values, read_mask
from flowseg.datasets.source import SourceFile
from flowseg.errors import UserError, first_of

Size: TypeAlias = tuple[int, int]
"""Height and width, in pixels."""


class Label(Protocol):
    """Where the vessels of an image are."""

    def files(self) -> Sequence[SourceFile]:
        """Returns the files to read for it."""
        ...

    def mask(self, size: Size, vessel: Values | None) -> Bool[np.ndarray, "h w"]:
        """Returns the mask for an image of a size; `vessel`: which grey values of label files count as vessel."""
        ...


@dataclass(frozen=True)
class FileLabel:
    """Label images; with several, the union of their masks."""

    images: tuple[SourceFile, ...]

    def files(self) -> Sequence[SourceFile]:
        return self.images

    def mask(self, size: Size, vessel: Values | None) -> Bool[np.ndarray, "h w"]:
        masks = [read_mask(file, vessel) for file in self.images]
        for file, mask in zip(self.images, masks, strict=True):
            check_size(file.path, mask, size, "a label")
        return np.any(masks, axis=0)


@dataclass(frozen=True)
class Case:
    """One image with its label."""

    stem: str
    """The name of its files in the written data set."""
    image: SourceFile
    label: Label
    fov: SourceFile | None = None
    """The mask of its field of view."""
    split: str | None = None
    """train, val or test, if the data set says so; otherwise it is drawn."""
    group: str = ""
    """The patient or sequence; images of one group are kept in one split."""


@dataclass(frozen=True)
class Found:
    """The cases of a data set, and what the user should know about them."""

    cases: list[Case]
    notes: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    """The classes that count as vessel, if the data set has several."""


class Layout(Protocol):
    """How the files of a data set are named, and which belong together."""

    def wanted(self, name: str) -> bool:
        """Whether a file belongs to the data set, by its place in the download."""
        ...

    def find(self, files: Sequence[SourceFile], classes: Sequence[str] | None) -> Found:
        """Returns the cases among the files; `classes`: which of the labelled classes count as vessel."""
        ...


def unique(files: Iterable[tuple[str, SourceFile]]) -> dict[str, SourceFile]:
    """Returns files by their keys; two files of one key are a UserError."""
    found: dict[str, SourceFile] = {}
    for key, file in files:
        if key in found:
            raise UserError(f"{file.path}: {found[key].path} stands for the same image; take one of them away")
        found[key] = file
    return found


def check_pairs(images: dict[str, SourceFile], labels: dict[str, SourceFile], kind: str = "label") -> None:
    """Raises a UserError for images that have no label, and for labels that have no image."""
    for some, others, lacks in ((images, labels, kind), (labels, images, "image")):
        alone = [str(some[key].path) for key in some if key not in others]
        if alone:
            raise UserError(f"{first_of(alone)}: no {lacks} was found for it; add it or take the file away")
