"""How each metric responds to a known fault: true masks are given one fault and scored against the original.

    python benchmarks/metric_sensitivity.py ROOT [--split test]

ROOT is a data set as for training; only its labels are read. The faults are drawn with a fixed seed. The values are
means over the images that have them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from flowseg.data.folders import find_pairs
from flowseg.data.image_files import read_label
from flowseg.evaluation.metric_table import MASK_METRICS
from flowseg.evaluation.metrics import mask_metrics
from flowseg.evaluation.score import intervals
from flowseg.evaluation.topology import skeleton, within

HERE = Path(__file__).resolve().parent
PLACES = 10
FAR = 20  # pixels from any vessel

Mask = np.ndarray
Fault = Callable[[Mask, np.random.Generator], Mask]


def _some(places: Mask, rng: np.random.Generator, count: int = PLACES) -> list[tuple[int, int]]:
    """Up to `count` pixels of a mask, drawn without replacement."""
    found = np.argwhere(places)
    return [(int(y), int(x)) for y, x in found[rng.permutation(len(found))[:count]]]


def cut(mask: Mask, rng: np.random.Generator) -> Mask:
    """Vessels cut through at ten places, by discs a pixel wider than the vessel."""
    width = ndimage.distance_transform_edt(mask)
    left = mask.copy()
    for y, x in _some(skeleton(mask), rng):
        place = np.zeros_like(mask)
        place[y, x] = True
        left &= ~within(place, width[y, x] + 1)
    return left


def without_thin(mask: Mask, _: np.random.Generator) -> Mask:
    """Only the vessels that a disc of five pixels fits into."""
    return (
        cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
        > 0
    )


def specks(mask: Mask, rng: np.random.Generator) -> Mask:
    """Ten false discs, five pixels wide, far from any vessel."""
    places = np.zeros_like(mask)
    for place in _some(~within(mask, FAR), rng):
        places[place] = True
    return mask | within(places, 2.0)


def false_line(mask: Mask, _: np.random.Generator) -> Mask:
    """A false line, five pixels wide, along the left side, as from a catheter or the edge of the X-ray field."""
    made = mask.copy()
    made[:, 8:13] = True
    return made


SQUARE = np.ones((3, 3), np.uint8)
FAULTS: dict[str, Fault] = {
    "none": lambda mask, _: mask,
    "1 pixel thicker": lambda mask, _: cv2.dilate(mask.astype(np.uint8), SQUARE) > 0,
    "1 pixel thinner": lambda mask, _: cv2.erode(mask.astype(np.uint8), SQUARE) > 0,
    "shifted by 2 pixels": lambda mask, _: np.pad(mask, ((0, 0), (2, 0)))[:, :-2],
    "cut through at 10 places": cut,
    "thin vessels missing": without_thin,
    "10 false specks": specks,
    "a false line": false_line,
    "nothing predicted": lambda mask, _: np.zeros_like(mask),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "metric_sensitivity.json")
    args = parser.parse_args()
    machine = describe_machine()
    masks = [read_label(pair.label) for pair in find_pairs(args.root, args.split)]
    rows = {}
    for name, fault in FAULTS.items():
        rng = np.random.default_rng(0)
        rows[name] = intervals([mask_metrics(fault(mask, rng), mask) for mask in masks])
    table = Table("fault", *(row.key for row in MASK_METRICS), title=f"mean over {len(masks)} true masks")
    for name, found in rows.items():
        table.add_row(name, *(f"{v.mean:.3f}" if v.n else "-" for v in found.values()))
    Console(width=200).print(table)
    write_results(
        args.out,
        machine,
        images=len(masks),
        means={name: {m: v.mean if v.n else None for m, v in found.items()} for name, found in rows.items()},
    )


if __name__ == "__main__":
    main()
