"""The layout of most data sets: an image, its label and its field of view have a common part in their names."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from flowseg.datasets.cases import Case, FileLabel, Found, check_pairs, unique
from flowseg.datasets.source import SourceFile
from flowseg.errors import UserError

SplitOf = Callable[[str, str], str | None]
"""Returns the split of an image by its part and key, or None if it is to be drawn."""


def to_draw(part: str, key: str) -> str | None:
    """The split of a data set that leaves it to its users."""
    return None


def by_part(splits: Mapping[str, str]) -> SplitOf:
    """The split of a data set that has a folder for each part of it."""
    return lambda part, key: splits[part]


def by_number(splits: Mapping[str, range]) -> SplitOf:
    """The split of a data set that counts its images."""
    return lambda part, key: next((split for split, numbers in splits.items() if int(key) in numbers), None)


@dataclass(frozen=True)
class Patterns:
    """Regular expressions for the end of a file's place in the download, without regard to case.

    Named groups: `key` tells the images apart, together with `part` if keys repeat in each part of the set. `group`,
    in the image's expression, is the patient or sequence; without it each image is alone. `cls`, in the label's
    expression, is the class.
    """

    image: str
    label: str
    fov: str | None = None
    split_of: SplitOf = to_draw
    unlabelled: tuple[str, ...] = ()
    """Parts that some downloads contain without labels. They are then left out."""
    classes: tuple[str, ...] = ()
    """The classes that may be chosen; the first is the default."""

    def wanted(self, name: str) -> bool:
        return any(match_end(pattern, name) for pattern in (self.image, self.label, self.fov) if pattern)

    def find(self, files: Sequence[SourceFile], classes: Sequence[str] | None) -> Found:
        found = {file.name: match for match, file in matches(self.image, files)}
        images = self._files(self.image, files)
        chosen = self._chosen(classes)
        labels = [self._files(self.label, files, cls) for cls in chosen or (None,)]
        images, notes = self._labelled(images, labels)
        for of_class in labels:
            check_pairs(images, of_class)
        masks = self._files(self.fov, files) if self.fov else {}
        fov = {identity: file for identity, file in masks.items() if identity in images}
        if fov:
            check_pairs(images, fov, "mask of the field of view")
        elif self.fov:
            notes.append("there are no masks of the field of view in this download")
        cases = []
        for identity, image in images.items():
            match = found[image.name].groupdict()
            cases.append(
                Case(
                    stem=PurePosixPath(image.name).stem,
                    image=image,
                    label=FileLabel(tuple(of_class[identity] for of_class in labels)),
                    fov=fov.get(identity),
                    split=self.split_of(match.get("part", "").lower(), match["key"]),
                    group=match.get("group") or identity,
                )
            )
        return Found(cases, notes, chosen)

    @staticmethod
    def _files(pattern: str, files: Sequence[SourceFile], cls: str | None = None) -> dict[str, SourceFile]:
        """Returns the files of a pattern, of a class if one is given, by their image's identity."""
        found = matches(pattern, files)
        return unique((_identity(match), file) for match, file in found if cls is None or match["cls"] == cls)

    def _chosen(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        """Returns the classes to unite; none for a data set that has only one."""
        if classes and not self.classes:
            raise UserError(f"--classes {classes[0]}: the set has only one class of vessel; leave the option out")
        for cls in classes or ():
            if cls not in self.classes:
                raise UserError(f"--classes {cls}: no such class; choose among {', '.join(self.classes)}")
        return tuple(classes or self.classes[:1])

    def _labelled(
        self, images: dict[str, SourceFile], labels: Sequence[dict[str, SourceFile]]
    ) -> tuple[dict[str, SourceFile], list[str]]:
        """Returns the images without those of parts that have no labels at all, and notes about these parts."""
        notes = []
        for part in self.unlabelled:
            of_part = [identity for identity in images if identity.startswith(f"{part}/")]
            if of_part and not any(identity.startswith(f"{part}/") for of_class in labels for identity in of_class):
                notes.append(f"the {len(of_part)} images of {part} have no labels in this download and are left out")
                images = {identity: file for identity, file in images.items() if identity not in of_part}
        return images, notes


def match_end(pattern: str, name: str) -> re.Match[str] | None:
    """Returns the match of a pattern at the end of a file's place in the download, without regard to case."""
    return re.fullmatch(f"(?:.*/)?{pattern}", name, re.IGNORECASE)


def matches(pattern: str, files: Sequence[SourceFile]) -> Iterator[tuple[re.Match[str], SourceFile]]:
    """Yields the files that a pattern matches (`match_end`), each with its match."""
    for file in files:
        if match := match_end(pattern, file.name):
            yield match, file


def _identity(match: re.Match[str]) -> str:
    """Returns part/key, or the key alone."""
    names = match.groupdict()
    return "/".join(filter(None, (names.get("part", "").lower(), names["key"])))
