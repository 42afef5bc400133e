"""Metrics of overlap: two masks compared pixel by pixel. flowseg.evaluation.metric_table defines each of them."""

import numpy as np

from flowseg.evaluation.arrays import Mask, check_masks


def overlap_metrics(prediction: Mask, truth: Mask) -> dict[str, float]:
    """Dice, IoU, precision, recall and specificity of a predicted mask, in [0, 1].

    Raises a ValueError if the shapes differ or a mask is not bool: a {0, 255} mask would be counted wrongly.
    """
    check_masks(truth.shape, prediction=prediction, truth=truth)
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
    """The density error, in [0, 1]."""
    return {"density_error": abs(float(prediction.mean()) - float(truth.mean()))}


def _ratio(numerator: int, denominator: int, if_empty: float) -> float:
    return numerator / denominator if denominator else if_empty
