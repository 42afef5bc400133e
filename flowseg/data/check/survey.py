"""Reads all files of a data set, and collects what is wrong with them instead of stopping at the first mistake."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from flowseg.data.check.fit import Fit, measure_fit
from flowseg.data.check.similar import Signature, signature
from flowseg.data.dataset import share_outside
from flowseg.data.folders import SPLITS, Pair, match_files, split_of
from flowseg.data.folds import lost_patients, read_patients
from flowseg.data.image_files import Stored, check_size, content_hash, read_fov, read_label, read_stored, scaled
from flowseg.errors import UserError
from flowseg.progress import task

_THREADS = 2
T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """What is kept of a pair that could be read."""

    pair: Pair
    size: tuple[int, int]
    """Height and width, pixels."""
    depth: str
    """8-bit, 16-bit, float or colour, as stored."""
    content: str
    """Content hash of the image."""
    label_content: str
    """Content hash of the label."""
    vessel: float
    """Share of the label's pixels that are vessel."""
    orientation: int
    """The image's EXIF orientation, which is not applied; 1 is upright."""
    outside: float
    """Share of the label's vessel pixels that lie outside the field of view; 0 without one."""
    fit: Fit | None
    """How the label lies on the image; None if the label is empty or nearly full."""
    signature: Signature
    """What similar images are found by."""

    @property
    def key(self) -> str:
        """The image's name, split/stem."""
        return self.pair.key

    @property
    def split(self) -> str:
        """The split's name."""
        return split_of(self.key)


@dataclass(frozen=True)
class Survey:
    """What is known of a data set after one reading of its files."""

    root: Path
    records: list[Record]
    """The pairs that could be read, in the order of splits and names."""
    problems: list[UserError]
    """What training would refuse: missing folders, files without partner, files that cannot be read."""
    ignored: list[str]
    """Folders of the data set that are none of its splits."""
    patients: Mapping[str, str]
    """The patient of each image by its name, as dataset.json tells."""
    lost: Sequence[str]
    """Images whose patient dataset.json does not tell, while it names images that are not there."""

    def of(self, split: str) -> list[Record]:
        """Returns the records of a split."""
        return [record for record in self.records if record.split == split]


def read_survey(root: Path) -> Survey:
    """Reads every image and label of a data set once.

    Raises:
        UserError: there is no such folder, or it holds none of the splits.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        raise match_files(root, SPLITS[0])[1][0]
    matched = [match_files(root, split) for split in SPLITS]
    pairs = [pair for found, _ in matched for pair in found]
    problems = [problem for _, found in matched for problem in found]
    records = []
    with ThreadPoolExecutor(_THREADS) as pool, task("reading", len(pairs)) as advance:
        for record, found in pool.map(_read, pairs):
            records += [record] if record is not None else []
            problems += found
            advance()
    ignored = [path.name for path in sorted(root.iterdir()) if path.is_dir() and path.name not in SPLITS]
    patients: Mapping[str, str] = {}
    try:
        patients = read_patients(root)
    except UserError as error:
        problems.append(error)
    lost, _ = lost_patients(patients, [pair.key for pair in pairs])
    return Survey(root, records, problems, [name for name in ignored if not name.startswith(".")], patients, lost)


def _read(pair: Pair) -> tuple[Record | None, list[UserError]]:
    """Returns a pair's record, or None and what is wrong with its image, its label or both."""
    problems: list[UserError] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except UserError as error:
            problems.append(error)
            return None

    stored = attempt(lambda: read_stored(pair.image))
    grey = None if stored is None else stored.luminance
    image = None if grey is None else attempt(lambda: scaled(grey, str(pair.image)))
    mask = attempt(lambda: read_label(pair.label))
    if grey is not None and mask is not None:
        attempt(lambda: check_size(pair.label, mask, grey.shape, "a label"))
    fov = None
    if (path := pair.fov) is not None:
        fov = attempt(lambda: read_fov(path))
        if grey is not None and fov is not None:
            attempt(lambda: check_size(path, fov, grey.shape, "a field of view"))
    if problems or stored is None or grey is None or image is None or mask is None:
        return None, problems
    h, w = grey.shape
    record = Record(
        pair=pair,
        size=(h, w),
        depth=_depth(stored),
        content=content_hash(grey),
        label_content=content_hash(mask.astype(np.uint8)),
        vessel=float(mask.mean()),
        orientation=stored.orientation,
        outside=0.0 if fov is None else share_outside(mask, fov),
        fit=measure_fit(image, mask),
        signature=signature(image, mask),
    )
    return record, []


def _depth(stored: Stored) -> str:
    """Returns how an image is stored; a colour image whose channels are all equal counts as grey."""
    pixels = stored.pixels
    if pixels.ndim == 3 and (pixels != pixels[..., :1]).any():
        return "colour"
    return {"uint8": "8-bit", "uint16": "16-bit"}.get(pixels.dtype.name, "float")
