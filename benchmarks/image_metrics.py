"""The processor time of the metrics of one image, on one core.

    python benchmarks/image_metrics.py [--size 512] [--turns 9]

vessels   phantom angiograms; the prediction is the label, shifted by a pixel, blurred, with noise
noise     the same labels; the prediction is noise, so that it consists of thousands of specks
all       the same labels; every pixel is predicted as vessel, which gives the slowest skeleton

The process stays on one core. Its processor time is counted, which other processes hardly affect. Each
turn measures all phantoms; the times are per image.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe_machine, write_results
from rich.console import Console
from rich.table import Table

from flowseg.evaluation.metric_table import IMAGE_METRICS
from flowseg.evaluation.metrics import image_metrics
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.evaluation.soft import soft_metrics
from flowseg.evaluation.surface import surface_metrics
from flowseg.evaluation.topology import Shape, betti, cldice
from flowseg.phantoms.angiogram import draw_phantom

HERE = Path(__file__).resolve().parent
TARGET_MS = 150.0
ALL = f"all {len(IMAGE_METRICS)}: image_metrics"

Pair = tuple[np.ndarray, np.ndarray]
PARTS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "overlap: dice, iou, precision, recall, specificity": lambda p, t: overlap_metrics(p > 0.5, t),
    "cldice": lambda p, t: cldice(Shape(p > 0.5), Shape(t)),
    "betti0_error, betti1_error": lambda p, t: (betti(p > 0.5), betti(t)),
    "hd95, assd, surface_dice_1, surface_dice_2": lambda p, t: surface_metrics(p > 0.5, t),
    "auc, average_precision, ece, brier": soft_metrics,
    ALL: image_metrics,
}


def cases(size: int, images: int) -> dict[str, list[Pair]]:
    """The probabilities and true masks of each case."""
    rng = np.random.default_rng(0)
    made: dict[str, list[Pair]] = {"vessels": [], "noise": [], "all": []}
    for index in range(images):
        truth = draw_phantom(0, index, size)[1] > 0
        soft = cv2.GaussianBlur(np.roll(truth, 1, axis=1).astype(np.float32), (0, 0), 1.5)
        noise = rng.random(truth.shape, np.float32)
        made["vessels"].append((np.clip(soft + 0.2 * (noise - 0.5), 0, 1), truth))
        made["noise"].append((noise, truth))
        made["all"].append((np.maximum(noise, np.float32(0.6)), truth))
    return made


def milliseconds(measure: Callable[[np.ndarray, np.ndarray], Any], pairs: list[Pair]) -> float:
    """The processor time of one call, as the mean over the images."""
    started = time.process_time()
    for probability, truth in pairs:
        measure(probability, truth)
    return (time.process_time() - started) / len(pairs) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side in pixels")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "image_metrics.json")
    args = parser.parse_args()
    machine = describe_machine()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    cv2.setNumThreads(1)
    pairs = cases(args.size, args.images)
    turns: dict[str, dict[str, list[float]]] = {part: {case: [] for case in pairs} for part in PARTS}
    for _ in range(args.turns):
        for part, measure in PARTS.items():
            for case, chosen in pairs.items():
                turns[part][case].append(milliseconds(measure, chosen))
    table = Table(
        "metrics",
        *(f"{case}, ms" for case in pairs),
        title=f"{args.size}x{args.size}, processor time: median (largest)",
    )
    for part, by_case in turns.items():
        table.add_row(part, *(f"{statistics.median(ms):.1f} ({max(ms):.1f})" for ms in by_case.values()))
    Console().print(table)
    median = statistics.median(turns[ALL]["vessels"])
    verdict = "under" if median < TARGET_MS else "NOT under"
    print(f"all metrics of a vessel image: {median:.0f} ms, {verdict} {TARGET_MS:.0f} ms")
    write_results(
        args.out,
        machine,
        size=args.size,
        images=args.images,
        cores=1,
        target_ms=TARGET_MS,
        vessel_share=float(np.mean([truth.mean() for _, truth in pairs["vessels"]])),
        milliseconds={
            part: {case: {"median": statistics.median(ms), "turns": ms} for case, ms in by_case.items()}
            for part, by_case in turns.items()
        },
    )


if __name__ == "__main__":
    main()
