"""The metrics against MONAI and torchmetrics, which define them as the field does (only with PyTorch installed)."""

import numpy as np
import pytest
from mask_pairs import degenerate_pairs, random_pairs

from flowseg.evaluation.metrics import image_metrics

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[dev,vlm,peers]'")
monai = pytest.importorskip("monai.metrics", reason="needs MONAI: pip install '.[dev,vlm,peers]'")
calibration = pytest.importorskip(
    "torchmetrics.functional.classification", reason="needs torchmetrics: pip install '.[dev,vlm,peers]'"
)

PAIRS = [(p, t) for p, t in degenerate_pairs()[::2] + random_pairs(100) if p.any() and t.any()]


def channels(mask: np.ndarray) -> "torch.Tensor":
    """A mask as a tensor of one image and one channel."""
    return torch.from_numpy(mask[None, None].astype(np.float32))


def test_overlap_and_surfaces_are_monai_s() -> None:
    """The tolerance is that of MONAI's percentiles: float32, interpolated between distances of up to 30 pixels."""
    assert len(PAIRS) > 200
    for prediction, truth in PAIRS:
        found = image_metrics(prediction.astype(np.float32), truth)
        p, t = channels(prediction), channels(truth)
        inclusive = {"include_background": True}
        expected = {
            "dice": monai.compute_dice(p, t, **inclusive),
            "iou": monai.compute_iou(p, t, **inclusive),
            "hd95": monai.compute_hausdorff_distance(p, t, percentile=95, **inclusive),
            "assd": monai.compute_average_surface_distance(p, t, symmetric=True, **inclusive),
            "surface_dice_1": monai.compute_surface_dice(p, t, class_thresholds=[1], **inclusive),
            "surface_dice_2": monai.compute_surface_dice(p, t, class_thresholds=[2], **inclusive),
        }
        assert {name: found[name] for name in expected} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, rel=1e-5, abs=1e-4
        )


def test_ranking_and_calibration_are_torchmetrics() -> None:
    """No probability is exactly 1, because torchmetrics gives 1 a bin of its own."""
    rng = np.random.default_rng(5)
    for prediction, truth in PAIRS[::2]:
        probability = np.clip(0.5 * prediction + 0.6 * rng.random(truth.shape), 0, 0.9999).astype(np.float32)
        found = image_metrics(probability, truth)
        p, t = torch.from_numpy(probability), torch.from_numpy(truth.astype(np.int64))
        ece = calibration.binary_calibration_error(p.flatten(), t.flatten(), n_bins=15, norm="l1")
        assert found["ece"] == pytest.approx(float(ece), abs=1e-5)
        if not truth.all():
            assert found["auc"] == pytest.approx(float(calibration.binary_auroc(p, t)), abs=1e-5)
        assert found["average_precision"] == pytest.approx(float(calibration.binary_average_precision(p, t)), abs=1e-5)
