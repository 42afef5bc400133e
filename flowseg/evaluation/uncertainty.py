"""What several samples of one image say about where, and how far, their mean may be wrong."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy.special import entr
from scipy.stats import rankdata

from flowseg.evaluation.overlap import overlap_metrics

AUROC, EXPECTED_ERROR = "uncertainty_auroc", "expected_error"
"""Columns that an evaluation with an ensemble has beside the metrics; the second is an estimate without the truth."""

Map = Float32[np.ndarray, "h w"]


def predictive_entropy(probability: Map) -> Map:
    """Entropy of each pixel's class under the mean probability, in bits: 0 where it is sure, 1 where it is 1/2.

    The total uncertainty of an ensemble (Lakshminarayanan et al. 2017; Kendall and Gal 2017): how unsure the samples
    are, and how much they differ.
    """
    p = probability.astype(np.float64)
    return ((entr(p) + entr(1 - p)) / np.log(2)).astype(np.float32)


def expected_error(samples: Float32[np.ndarray, "n h w"], threshold: float) -> float:
    """The 1 - Dice to expect of the samples' mean mask if the truth were one more sample like them.

    The mean over samples of 1 - Dice between the sample's mask and that of the mean of the others, so that no sample
    is compared with itself. The agreement of samples as a stand-in for a Dice without truth is Roy et al.'s
    (NeuroImage 2019). What all samples get wrong alike it cannot see: it orders images, and is no forecast.

    Args:
        samples: vessel probabilities in [0, 1], two samples or more.
        threshold: the probability above which a pixel is vessel.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(samples) < 2:
        raise ValueError(f"need two samples or more, got {len(samples)}")
    errors = []
    for i, sample in enumerate(samples):
        others = np.delete(samples, i, axis=0).mean(axis=0)
        errors.append(1 - overlap_metrics(others > threshold, sample > threshold)["dice"])
    return float(np.mean(errors))


def uncertainty_auroc(prediction: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"], uncertainty: Map) -> float:
    """How well an uncertainty tells wrong pixels from right ones: the area under its ROC curve.

    The chance that a wrong pixel, drawn at random, is more uncertain than a right one, ties counting half (Hanley and
    McNeil 1982): 1/2 is no help, 1 perfect.

    Returns:
        A value in [0, 1]; nan where no pixel is wrong, or none right.

    Raises:
        ValueError: shapes differ, or a mask is not bool.
    """
    if not prediction.shape == truth.shape == uncertainty.shape:
        raise ValueError(f"shapes differ: {prediction.shape}, {truth.shape}, {uncertainty.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be bool, got {prediction.dtype} and {truth.dtype}")
    wrong = (prediction != truth).ravel()
    n_wrong, n_right = int(np.count_nonzero(wrong)), int(np.count_nonzero(~wrong))
    if not n_wrong or not n_right:
        return float("nan")
    ranks = rankdata(uncertainty.ravel())
    return float((ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right))
