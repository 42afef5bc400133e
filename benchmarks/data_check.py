"""What `flowseg data check` finds: labels that are given one fault, and the similarities of a set's images.

    python benchmarks/data_check.py ROOT [ROOT ...] [--labels 80]

The faults are drawn with a fixed seed, on up to so many labels of each set at equal distances. The similarities are
those of all its pairs of images.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table

from flowseg.data.check.fit import measure_fit
from flowseg.data.check.similar import ALIKE
from flowseg.data.check.survey import Survey, read_survey
from flowseg.data.image_files import read_image, read_label

HERE = Path(__file__).resolve().parent
WIDER = np.ones((7, 7), np.uint8)

Mask = np.ndarray
Fault = Callable[[Mask, Mask, np.random.Generator], tuple[Mask, tuple[int, int]]]
"""Returns a label with a fault, from it, another image's and a generator, and how it has to move to fit again."""


def moved(pixels: float) -> Fault:
    """A fault that moves a label so far in a random direction."""

    def move(mask: Mask, _: Mask, rng: np.random.Generator) -> tuple[Mask, tuple[int, int]]:
        angle = rng.uniform(0, 2 * np.pi)
        right, down = round(pixels * np.cos(angle)), round(pixels * np.sin(angle))
        return np.roll(mask, (down, right), (0, 1)), (-right, -down)

    return move


FAULTS: dict[str, Fault] = {
    "none": lambda mask, _, rng: (mask, (0, 0)),
    "moved by 2 pixels": moved(2),
    "moved by 3 pixels": moved(3),
    "moved by 4 pixels": moved(4),
    "moved by 6 pixels": moved(6),
    "3 pixels wider on each side": lambda mask, _, rng: (cv2.dilate(mask.astype(np.uint8), WIDER) > 0, (0, 0)),
    "flipped": lambda mask, _, rng: (mask[::-1], (0, 0)),
    "turned by 180 degrees": lambda mask, _, rng: (mask[::-1, ::-1], (0, 0)),
    "another image's": lambda _, other, rng: (other, (0, 0)),
}


def found_faults(survey: Survey, count: int) -> dict[str, dict[str, float]]:
    """Returns for each fault the share of labels called displaced, and of those put back within 1.5 pixels."""
    pairs = [record.pair for record in survey.records]
    pairs = pairs[:: -(-len(pairs) // count)]
    masks = [read_label(pair.label) for pair in pairs]
    images = [read_image(pair.image)[0] for pair in pairs]
    rows = {}
    for name, fault in FAULTS.items():
        rng = np.random.default_rng(0)
        displaced, back = [], []
        for image, mask, other in zip(images, masks, [*masks[1:], masks[0]], strict=True):
            if other.shape == mask.shape:
                spoilt, move = fault(mask, other, rng)
                fit = measure_fit(image, spoilt)
                assert fit is not None
                displaced.append(fit.displaced)
                back.append(float(np.hypot(*np.subtract(fit.move, move))) <= 1.5)
        rows[name] = {"labels": len(displaced), "displaced": float(np.mean(displaced)), "back": float(np.mean(back))}
    return rows


def highest_similarities(survey: Survey, count: int = 12) -> list[tuple[str, str, float]]:
    """Returns the most similar pairs of a set."""
    signatures = np.stack([record.signature for record in survey.records])
    similarities = np.triu(signatures @ signatures.T, 1)
    order = np.argsort(similarities, axis=None)[::-1][:count]
    keys = [record.key for record in survey.records]
    places = zip(*np.unravel_index(order, similarities.shape), strict=True)
    return [(keys[i], keys[j], round(float(similarities[i, j]), 3)) for i, j in places]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", type=Path, nargs="+", metavar="ROOT")
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "data_check.json")
    args = parser.parse_args()
    machine = describe_machine()
    results = {}
    console = Console(width=140, highlight=False)
    for root in args.roots:
        survey = read_survey(root)
        faults, pairs = found_faults(survey, args.labels), highest_similarities(survey)
        table = Table("fault", "labels", "called displaced", "put back within 1.5 pixels", title=root.resolve().name)
        for name, row in faults.items():
            table.add_row(name, f"{row['labels']:.0f}", f"{row['displaced']:.0%}", f"{row['back']:.0%}")
        console.print(table)
        for a, b, similarity in pairs:
            console.print(f"{similarity:.3f}  {a} and {b}{'' if similarity >= ALIKE else '  (not called similar)'}")
        results[root.resolve().name] = {"images": len(survey.records), "faults": faults, "similar": pairs}
    write_results(args.out, machine, sets=results)


if __name__ == "__main__":
    main()
