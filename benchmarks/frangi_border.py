"""The Frangi reference where the dark surround of the X-ray field is masked out first.

    python benchmarks/frangi_border.py ROOT

ROOT is a data set as for training. The surround is what is darker than a level and connected to the image's edge over
an area of at least `LEAST` pixels, with a margin around it, because the filter responds to the field's border. Before
the filter it is filled with the nearest grey value of the field; outside the field nothing is predicted. Level and
margin are chosen by the Dice on the validation split, like scale, polarity and threshold, which are chosen for each
pair of them. The scores are over whole images.
"""

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from flowseg.data.folders import find_pairs
from flowseg.data.image_files import as_uint8, read_image, read_label
from flowseg.evaluation.frangi import FrangiSettings, segment, tune
from flowseg.evaluation.metrics import mask_metrics
from flowseg.evaluation.score import intervals

LEVELS = (30, 60)
"""Grey values below which a pixel may belong to the surround."""
MARGINS = (2, 4, 8, 12)
LEAST = 300
KEYS = ("dice", "cldice", "precision", "recall")

Pairs = list[tuple[np.ndarray, np.ndarray]]


def read_split(root: Path, split: str) -> Pairs:
    """The images of a split and their masks."""
    return [(as_uint8(read_image(pair.image)[0]), read_label(pair.label)) for pair in find_pairs(root, split)]


def field(image: np.ndarray, level: int, margin: int) -> np.ndarray:
    """The pixels of the X-ray field, without a margin along the surround."""
    parts, count = ndimage.label(image < level)
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    sizes = ndimage.sum_labels(np.ones_like(parts), parts, range(count + 1))
    surround = np.isin(parts, [part for part in edge if part and sizes[part] >= LEAST])
    if margin and surround.any():
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        surround = cv2.dilate(surround.astype(np.uint8), disc) > 0
    return ~surround


def filled(image: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """The image with the nearest grey value of the field outside it."""
    nearest = ndimage.distance_transform_edt(~fov, return_distances=False, return_indices=True)
    return np.ascontiguousarray(image[tuple(nearest)])


def masked(pairs: Pairs, level: int, margin: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The filled images, and their fields."""
    fields = [field(image, level, margin) for image, _ in pairs]
    return [filled(image, fov) for (image, _), fov in zip(pairs, fields, strict=True)], fields


def tuned(pairs: Pairs, level: int, margin: int) -> tuple[float, FrangiSettings]:
    """The Dice on a split of the best settings for a level and a margin, and these settings."""
    images, fields = masked(pairs, level, margin)
    inside = [mask & fov for (_, mask), fov in zip(pairs, fields, strict=True)]
    settings = tune(images, inside, fields)
    found = [row["dice"] for row in scored(pairs, level, margin, settings)]
    return float(np.mean([dice for dice in found if dice is not None])), settings


def scored(pairs: Pairs, level: int, margin: int, settings: FrangiSettings) -> list[dict[str, float | None]]:
    """The metrics of every image."""
    images, fields = masked(pairs, level, margin)
    found = zip(images, fields, (mask for _, mask in pairs), strict=True)
    return [mask_metrics(segment(image, settings, fov), mask) for image, fov, mask in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frangi_border.json")
    args = parser.parse_args()
    machine = describe_machine()
    validation, test = read_split(args.root, "val"), read_split(args.root, "test")
    choices = {pair: tuned(validation, *pair) for pair in itertools.product(LEVELS, MARGINS)}
    chosen = max(choices, key=lambda pair: choices[pair][0])
    rows = {"whole image": ((0, 0), tuned(validation, 0, 0)), "surround masked": (chosen, choices[chosen])}
    table = Table("", "level", "margin", "scale", "threshold", "Dice, val", *(f"{key}, test" for key in KEYS))
    found = {}
    for name, ((level, margin), (dice, settings)) in rows.items():
        means = intervals(scored(test, level, margin, settings))
        shown = [f"{means[key].mean:.3f} [{means[key].low:.3f}, {means[key].high:.3f}]" for key in KEYS]
        table.add_row(
            name, str(level), str(margin), f"{settings.scale:.3g}", str(settings.threshold), f"{dice:.3f}", *shown
        )
        found[name] = {"level": level, "margin": margin, **vars(settings), "val_dice": dice, "test": shown}
    Console(width=170).print(table)
    write_results(args.out, machine, images=len(test), frangi=found)


if __name__ == "__main__":
    main()
