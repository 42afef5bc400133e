"""Metrics of overlap: two masks compared pixel by pixel."""

import numpy as np
from jaxtyping import Bool

Mask = Bool[np.ndarray, "H W"]


def overlap_metrics(prediction: Mask, truth: Mask) -> dict[str, float]:
    """Dice, IoU, precision, recall and specificity of a predicted mask.

    flowseg.evaluation.metric_table defines each, and says what it is if a mask is empty. Sources: Dice (Ecology 1945),
    also called F1; IoU of Jaccard (New Phytologist 1912).

    Args:
        prediction: the predicted mask, bool.
        truth: the true mask, bool, of the same shape.

    Returns:
        Values in [0, 1].

    Raises:
        ValueError: the shapes differ, or a mask is not bool (a {0, 255} mask would be counted wrongly).
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, truth has shape {truth.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be bool, got {prediction.dtype} and {truth.dtype}")
    tp = int(np.count_nonzero(prediction & truth))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    tn = truth.size - tp - fp - fn
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "iou": _ratio(tp, tp + fp + fn, 1.0),
        "precision": _ratio(tp, tp + fp, 1.0 if fn == 0 else 0.0),
        "recall": _ratio(tp, tp + fn, 1.0),
        "specificity": _ratio(tn, tn + fp, 1.0),
    }


def density_metrics(prediction: Mask, truth: Mask) -> dict[str, float]:
    """The density error: |density of the prediction - density of the truth|, in [0, 1].

    A mask's vessel density is the share of the image's pixels in it (vessel area density, Chu et al., J. Biomed. Opt.
    2016). The whole image counts, not a field of view.
    """
    return {"density_error": abs(float(prediction.mean()) - float(truth.mean()))}


def _ratio(numerator: int, denominator: int, if_empty: float) -> float:
    return numerator / denominator if denominator else if_empty
