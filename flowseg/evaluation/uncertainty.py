"""The uncertainty of an ensemble: where the mean of several samples of one image may be wrong, and how far."""

import numpy as np
from jaxtyping import Float32
from scipy.stats import rankdata

from flowseg.evaluation.arrays import Mask, check_masks
from flowseg.evaluation.overlap import overlap_metrics

AUROC, EXPECTED_ERROR = "uncertainty_auroc", "expected_error"
"""Columns that an evaluation with an ensemble adds to the metrics; the second is an estimate without the truth."""


def expected_error(samples: Float32[np.ndarray, "n h w"], threshold: float) -> float:
    """The error (1 - Dice) of the samples' mean mask that is to be expected if the truth were another such sample.

    It is the mean over samples of 1 - Dice between the sample's mask and the mask of the mean of all other samples, so
    that no sample is compared with itself. Roy et al. (NeuroImage 2019) use the agreement of samples in this way, in
    place of a Dice that needs the truth. Errors that all samples share do not show: it ranks images by difficulty, but
    it does not predict their Dice.

    The samples are vessel probabilities; a pixel is vessel if its probability exceeds the threshold. Raises a
    ValueError for fewer than two samples.
    """
    if len(samples) < 2:
        raise ValueError(f"need two samples or more, got {len(samples)}")
    errors = []
    for i, sample in enumerate(samples):
        others = np.delete(samples, i, axis=0).mean(axis=0)
        errors.append(1 - overlap_metrics(others > threshold, sample > threshold)["dice"])
    return float(np.mean(errors))


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
