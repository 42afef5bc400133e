"""Where a prediction may be wrong, and how far, without the truth."""

import numpy as np
from jaxtyping import Float32
from scipy.stats import rankdata

from flowseg.evaluation.arrays import Mask, check_masks

AUROC, EXPECTED_ERROR = "uncertainty_auroc", "expected_error"
"""Columns that an evaluation with an ensemble adds to the metrics; the second is an estimate without the truth."""


def expected_error(probability: Float32[np.ndarray, "h w"], mask: Mask) -> float:
    """Returns the error (1 - Dice) of a mask that the probabilities it was made from lead to expect.

    If each pixel were vessel with its probability p, the mask M would overlap with the truth by the sum of p over
    M on average, and the truth's size would be the sum of p over the image: the expected Dice is about
    2 sum_M p / (|M| + sum p). It is as good as the probabilities are calibrated, and says nothing of a SAUNA map
    (data.target), which is no probability.
    """
    total = float(np.count_nonzero(mask)) + float(probability.sum(dtype=np.float64))
    return 1 - 2 * float(probability[mask].sum(dtype=np.float64)) / total if total else 0.0


def uncertainty_auroc(prediction: Mask, truth: Mask, uncertainty: Float32[np.ndarray, "H W"]) -> float:
    """How well an uncertainty separates wrong pixels from right ones: the area under its ROC curve.

    It is the probability that a random wrong pixel is more uncertain than a random right one, where a tie counts half
    (Hanley and McNeil 1982): 1/2 means no better than chance, 1 is perfect. It is nan if no pixel is wrong, or none is
    right. Raises a ValueError if shapes differ or a mask is not bool.
    """
    check_masks(uncertainty.shape, prediction=prediction, truth=truth)
    wrong = (prediction != truth).ravel()
    n_wrong, n_right = int(np.count_nonzero(wrong)), int(np.count_nonzero(~wrong))
    if not n_wrong or not n_right:
        return float("nan")
    ranks = rankdata(uncertainty.ravel())
    return float((ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right))
