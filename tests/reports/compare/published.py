"""The published report's two runs as CSVs, made from its numbers (docs/recipe.md).

The report prints the best Dice of seven windows, their means, the jumps and the falls of VLM-FiLM. Its validation ran
every 15 epochs, so epochs 14, 29, 44, ..., 119 have a measurement each and the epochs between repeat it. These numbers
determine all eight to four decimals:

    14   0.8160   the mean of epochs 14 to 25, all of one measurement
    29   0.8198   the best of 14-29, higher than 0.8160; (15 * 0.8160 + 0.8198) / 16 = 0.8162
    44   0.8457   the best of 30-44; (14 * 0.8198 + 0.8457) / 15 = 0.8215
    59   0.8236   the fall 58 to 59: 0.8457 - 0.0221; (14 * 0.8457 + 0.8236) / 15 = 0.8442
    74   0.8266   the best of 60-74; (14 * 0.8236 + 0.8266) / 15 = 0.8238
    89   0.8562   the best of 75-89; (14 * 0.8266 + 0.8562) / 15 = 0.8286
    104  0.8389   the fall 103 to 104: 0.8562 - 0.0173; (14 * 0.8562 + 0.8389) / 15 = 0.8550
    119  0.8621   the best of 105-120; (14 * 0.8389 + 2 * 0.8621) / 16 = 0.8418

Each mean above agrees with the table, which nothing but this reading would make so. Losses are not determined: they
are given the published mean in each window, the published variance over epochs 14 to 25, and the published spike.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

VALIDATIONS = {14: 0.8160, 29: 0.8198, 44: 0.8457, 59: 0.8236, 74: 0.8266, 89: 0.8562, 104: 0.8389, 119: 0.8621}

WINDOWS = [
    # start, end, mean Dice, best Dice, mean loss, change of the mean: the report's table.
    (14, 29, 0.8162, 0.8198, 0.0998, None),
    (30, 44, 0.8215, 0.8457, 0.0912, 0.0053),
    (45, 59, 0.8442, 0.8457, 0.1535, 0.0227),
    (60, 74, 0.8238, 0.8266, 0.0903, -0.0204),
    (75, 89, 0.8286, 0.8562, 0.0992, 0.0048),
    (90, 104, 0.8550, 0.8562, 0.0880, 0.0265),
    (105, 120, 0.8418, 0.8621, 0.1054, -0.0132),
]

SPIKE = (48, 0.9364)
EARLY_VARIANCE = {"VLM-FiLM": 0.001096, "baseline": 0.004067}
_SCATTER = 3e-4  # variance of losses outside the early phase, of which nothing is published

Line = tuple[int, float, float]


def vlm_film() -> list[Line]:
    """Epochs 14 to 120."""
    losses: dict[int, float] = {}
    for start, end, _, _, mean, _ in WINDOWS:
        inside = [e for e in range(start, end + 1) if e != SPIKE[0]]
        spike = SPIKE[1] if len(inside) <= end - start else 0.0
        level = (mean * (end - start + 1) - spike) / len(inside)
        losses |= scattered(inside, level, _SCATTER)
    mean = WINDOWS[0][4]
    losses |= scattered(range(14, 26), mean, EARLY_VARIANCE["VLM-FiLM"]) | scattered(range(26, 30), mean, _SCATTER)
    losses[SPIKE[0]] = SPIKE[1]
    return [(e, losses[e], VALIDATIONS[max(at for at in VALIDATIONS if at <= e)]) for e in range(14, 121)]


def baseline() -> list[Line]:
    """Epochs 14 to 25 with the first measurement, then nothing until the best at epoch 430."""
    losses = scattered(range(14, 26), 0.15, EARLY_VARIANCE["baseline"])
    return [*((epoch, loss, 0.8140) for epoch, loss in losses.items()), (430, 0.06, 0.8707)]


def scattered(epochs: Sequence[int], mean: float, variance: float) -> dict[int, float]:
    """Losses of exactly this mean and variance (n - 1), scattered by chance, the same each time."""
    noise = np.random.default_rng(len(epochs)).normal(size=len(epochs))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return {epoch: mean + float(step) * variance**0.5 for epoch, step in zip(epochs, noise, strict=True)}


def write(path: Path, lines: list[Line]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "val_dice"])
        writer.writerows((epoch, f"{loss:.8f}", f"{dice:.4f}") for epoch, loss, dice in lines)
    return path


def write_both(folder: Path) -> tuple[Path, Path]:
    return write(folder / "baseline.csv", baseline()), write(folder / "VLM-FiLM.csv", vlm_film())
