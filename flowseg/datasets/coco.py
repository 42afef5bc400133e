"""The layout of ARCADE: polygons in COCO files, one for each part of the data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from flowseg.datasets.cases import Case, Found, Size, check_pairs, unique
from flowseg.datasets.patterns import match_end, matches
from flowseg.datasets.pixels import Values
from flowseg.datasets.source import SourceFile
from flowseg.errors import UserError, first_of
from flowseg.files import parse_json

_MARGIN = 1.0
"""Pixels by which a polygon may leave the image, since a vertex may lie on the far edge of the last pixel."""


@dataclass(frozen=True)
class PolygonLabel:
    """The union of polygons; each is a list of x, y in pixels."""

    source: SourceFile
    polygons: tuple[tuple[str, tuple[float, ...]], ...]
    """Each with the name of its annotation, for messages."""

    def files(self) -> Sequence[SourceFile]:
        return ()  # the file is read when the cases are found

    def mask(self, size: Size, vessel: Values | None) -> Bool[np.ndarray, "h w"]:
        """Returns the filled polygons, as the data set's authors fill them: vertices are cut to whole pixels."""
        if vessel is not None:
            raise UserError("--label-values: the labels of this set are polygons without grey values; leave it out")
        mask = np.zeros(size, np.uint8)
        for name, numbers in self.polygons:
            points = np.array(numbers, np.float64).reshape(-1, 2)
            beyond = max(-points.min(), (points - size[::-1]).max())
            if beyond > _MARGIN:
                raise UserError(
                    f"{self.source.path}: {name}: a polygon leaves its image of {size[1]}x{size[0]} by {beyond:g} "
                    "pixels; correct or remove it"
                )
            cv2.fillPoly(mask, [points.astype(np.int32)], (1,))
        return mask > 0


@dataclass(frozen=True)
class Coco:
    """Patterns of images and COCO files, as those of `Patterns`; each has a group `part`."""

    image: str
    annotations: str
    not_vessel: tuple[str, ...] = ()
    """Categories that count only if they are chosen."""

    def wanted(self, name: str) -> bool:
        return any(match_end(pattern, name) for pattern in (self.image, self.annotations))

    def find(self, files: Sequence[SourceFile], classes: Sequence[str] | None) -> Found:
        images, annotations = (_by_part(pattern, files) for pattern in (self.image, self.annotations))
        check_pairs(
            {part: found[0] for part, found in images.items()},
            {part: found[0] for part, found in annotations.items()},
            "COCO file",
        )
        cases: list[Case] = []
        chosen: set[str] = set()
        for part, found in annotations.items():
            file = unique((part, each) for each in found)[part]
            try:
                coco = parse_json(file.read())
                chosen |= self._chosen(coco, file, classes)
                labels = self._labels(coco, file, chosen)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
                raise UserError(f"{file.path}: is not a COCO file of polygons ({reason}); get it again") from None
            by_name = unique((PurePosixPath(image.name).name, image) for image in images[part])
            for name in labels:
                if name not in by_name:
                    raise UserError(f"{file.path}: lists the image {name}, which is not there; add it")
            alone = [str(by_name[name].path) for name in by_name if name not in labels]
            if alone:
                raise UserError(f"{first_of(alone)}: no annotation was found in {file.path}; take the file away")
            stems = {name: PurePosixPath(name).stem for name in labels}
            cases += [Case(stems[n], by_name[n], labels[n], split=part, group=f"{part}/{n}") for n in labels]
        return Found(cases, classes=tuple(sorted(chosen)))

    def _chosen(self, coco: dict[str, Any], file: SourceFile, classes: Sequence[str] | None) -> set[str]:
        """Returns the names of the categories that count as vessel."""
        names = [str(category["name"]) for category in coco["categories"]]
        for cls in classes or ():
            if cls not in names:
                raise UserError(f"--classes {cls}: {file.path} has no such class; choose among {', '.join(names)}")
        return set(classes or (name for name in names if name not in self.not_vessel))

    def _labels(self, coco: dict[str, Any], file: SourceFile, chosen: set[str]) -> dict[str, PolygonLabel]:
        """Returns the label of each image, by the image's file name."""
        names = {category["id"]: str(category["name"]) for category in coco["categories"]}
        image_names = {image["id"]: str(image["file_name"]) for image in coco["images"]}
        if len(set(image_names.values())) < len(coco["images"]):
            raise UserError(f"{file.path}: lists an image twice; get it again")
        polygons: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
        for annotation in coco["annotations"]:
            what = f"annotation {annotation['id']}"
            of_image = polygons.setdefault(image_names[annotation["image_id"]], [])
            if names[annotation["category_id"]] in chosen:
                of_image += [
                    (what, _numbers(polygon, what)) for polygon in _polygons(annotation["segmentation"], what)
                ]
        return {name: PolygonLabel(file, tuple(of_image)) for name, of_image in polygons.items()}


def _polygons(segmentation: Any, what: str) -> list[Any]:
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"{what} has no polygons")  # COCO's other form is a run-length code
    return segmentation


def _numbers(polygon: Any, what: str) -> tuple[float, ...]:
    numbers = tuple(float(number) for number in polygon)
    if not numbers or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{what} has a polygon that is not a list of x, y")
    return numbers


def _by_part(pattern: str, files: Sequence[SourceFile]) -> dict[str, list[SourceFile]]:
    found: dict[str, list[SourceFile]] = {}
    for match, file in matches(pattern, files):
        found.setdefault(match["part"].lower(), []).append(file)
    return found
