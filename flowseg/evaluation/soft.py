"""Metrics of vessel probabilities that need no threshold: how well they rank pixels, and how well calibrated they are.

All pixels of the image have the same weight, so the background, which is most of an angiogram, dominates.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from flowseg.evaluation.arrays import Mask, Probability

BINS = 15
"""The number of bins of the calibration error, as in Guo et al. (ICML 2017)."""

CALIBRATION = ("ece", "brier")
"""The metrics that take the map for probabilities; the others only rank its pixels. A SAUNA map is no probability."""

_ROUNDING = 1e-6  # a mean of float32 probabilities can exceed 1 by this much


def soft_metrics(probability: Probability, truth: Mask) -> dict[str, float | None]:
    """AUC, average precision, calibration error and Brier score of a map of vessel probabilities.

    flowseg.evaluation.metric_table defines each, and says where one does not exist (None). AUC is exact, ties
    included. Average precision is not interpolated (Davis and Goadrich, ICML 2006, explain why); it is 1 if the whole
    image is vessel. The calibration error is that of the vessel probability, not of the winning class's confidence as
    in Guo et al.; a bin includes its lower end, the last one 1 too. The Brier score is that of one class.

    Raises a ValueError if the shapes differ, there is no pixel, a dtype is wrong, or a probability is nan or outside
    [0, 1] by more than rounding.
    """
    _check(probability, truth)
    flat, vessel = probability.astype(np.float64).ravel(), truth.ravel()
    return {
        **_ranking(np.sort(probability[truth]), np.sort(probability[~truth])),
        "ece": Calibration.of(flat, vessel).error,
        "brier": float(np.mean((flat - vessel) ** 2)),
    }


def _ranking(vessel: Float[np.ndarray, " v"], background: Float[np.ndarray, " b"]) -> dict[str, float | None]:
    """AUC and average precision, from the sorted probabilities of both classes."""
    if not len(vessel):
        return {"auc": None, "average_precision": None}
    below = np.searchsorted(background, vessel, side="left")  # background pixels of lower probability
    not_above = np.searchsorted(background, vessel, side="right")
    true = len(vessel) - np.searchsorted(vessel, vessel, side="left")
    precision = true / (true + len(background) - below)
    auc = None
    if len(background):
        auc = float((below.sum() + not_above.sum()) / (2 * len(vessel) * len(background)))
    return {"auc": auc, "average_precision": float(precision.mean())}


@dataclass(frozen=True)
class Calibration:
    """Pixels by bins of equal width of their predicted probability."""

    pixels: Float64[np.ndarray, " bins"]
    """How many pixels a bin holds."""
    predicted: Float64[np.ndarray, " bins"]
    """The sum of their probabilities."""
    vessel: Float64[np.ndarray, " bins"]
    """How many of them are vessel."""

    @classmethod
    def of(cls, probability: Float[np.ndarray, " n"], vessel: Bool[np.ndarray, " n"]) -> "Calibration":
        """Sorts pixels into `BINS` bins; a bin includes its lower end, the last one 1 too."""
        values = probability.astype(np.float64)
        index = np.minimum((values * BINS).astype(np.intp), BINS - 1)
        counts = [np.bincount(i, minlength=BINS).astype(np.float64) for i in (index, index[vessel])]
        return cls(counts[0], np.bincount(index, values, BINS), counts[1])

    @property
    def error(self) -> float:
        """The expected calibration error of these pixels."""
        return float(np.abs(self.predicted - self.vessel).sum() / self.pixels.sum())


def _check(probability: np.ndarray, truth: np.ndarray) -> None:
    if probability.shape != truth.shape or truth.ndim != 2 or not truth.size:
        raise ValueError(f"need two maps of one shape, not empty, got {probability.shape} and truth {truth.shape}")
    if probability.dtype.kind != "f" or truth.dtype != np.bool_:
        raise ValueError(f"need floating probabilities and a bool truth, got {probability.dtype} and {truth.dtype}")
    if not (probability.min() >= -_ROUNDING and probability.max() <= 1 + _ROUNDING):  # nan fails both
        raise ValueError("probabilities must lie in [0, 1]")
