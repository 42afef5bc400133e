"""Surface distances against SimpleITK's distance maps and brute force, and where other tools differ."""

import numpy as np
import pytest
import SimpleITK as sitk
from mask_pairs import degenerate_pairs, random_pairs
from scipy.spatial.distance import cdist

from flowseg.evaluation.surface import surface, surface_distances, surface_metrics

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # masks this small are slower with threads

PAIRS = degenerate_pairs() + random_pairs(200)
WITH_BOTH = [(p, t) for p, t in PAIRS if p.any() and t.any()]
EMPTY = np.zeros((6, 9), dtype=bool)
KEYS = ("hd95", "assd", "surface_dice_1", "surface_dice_2")


def itk_surface(mask: np.ndarray) -> sitk.Image:
    """ITK's contour of a mask, padded with background because ITK ignores what is outside the image."""
    return sitk.LabelContour(sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8)), fullyConnected=False)


def itk_distances(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The distances from one surface's pixels to the other surface, in row-major order."""
    outline, other = itk_surface(start), itk_surface(goal)
    away = sitk.Abs(sitk.SignedMaurerDistanceMap(other, squaredDistance=False, useImageSpacing=False))
    return sitk.GetArrayFromImage(away)[sitk.GetArrayFromImage(outline) > 0]


def test_there_are_hundreds_of_pairs() -> None:
    assert len(PAIRS) == 489 and len(WITH_BOTH) > 400


def test_surfaces_are_itk_s_contours() -> None:
    for mask in {id(m): m for pair in PAIRS for m in pair}.values():
        np.testing.assert_array_equal(surface(mask), sitk.GetArrayFromImage(itk_surface(mask))[1:-1, 1:-1] > 0)


def test_distances_are_itk_s_in_both_directions() -> None:
    for prediction, truth in WITH_BOTH:
        to_truth, to_prediction = surface_distances(prediction, truth)
        np.testing.assert_allclose(to_truth, itk_distances(prediction, truth), rtol=1e-6)
        np.testing.assert_allclose(to_prediction, itk_distances(truth, prediction), rtol=1e-6)


def test_metrics_follow_from_all_pairs_of_surface_pixels() -> None:
    """hd95 is the larger of two directions; assd and surface Dice pool them. Other readings give other values."""
    other_hd95 = other_assd = 0
    for prediction, truth in WITH_BOTH:
        between = cdist(np.argwhere(surface(prediction)), np.argwhere(surface(truth)))
        there, back = between.min(axis=1), between.min(axis=0)
        pooled = np.concatenate([there, back])
        found = surface_metrics(prediction, truth)
        assert found == pytest.approx(
            {
                "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
                "assd": (there.sum() + back.sum()) / (len(there) + len(back)),
                "surface_dice_1": ((there <= 1).sum() + (back <= 1).sum()) / (len(there) + len(back)),
                "surface_dice_2": ((there <= 2).sum() + (back <= 2).sum()) / (len(there) + len(back)),
            }
        )
        other_hd95 += found["hd95"] != pytest.approx(np.percentile(pooled, 95))
        other_assd += found["assd"] != pytest.approx((there.mean() + back.mean()) / 2)
    assert other_hd95 > 50 and other_assd > 50


def test_hausdorff_distance_of_surfaces_is_itk_s() -> None:
    for prediction, truth in WITH_BOTH[::3]:
        compared = sitk.HausdorffDistanceImageFilter()
        compared.Execute(itk_surface(prediction), itk_surface(truth))
        largest = max(d.max() for d in surface_distances(prediction, truth))
        assert largest == pytest.approx(compared.GetHausdorffDistance(), rel=1e-6)


def test_metrics_do_not_depend_on_the_order_place_or_orientation() -> None:
    for prediction, truth in random_pairs(40, seed=1):
        found = surface_metrics(prediction, truth)
        wide = [np.pad(mask, ((3, 0), (1, 5))) for mask in (prediction, truth)]
        for a, b in ((truth, prediction), wide, (prediction.T[::-1], truth.T[::-1])):
            assert surface_metrics(a, b) == pytest.approx(found)


def test_a_shifted_line_is_as_far_as_it_was_shifted() -> None:
    line = np.zeros((20, 40), dtype=bool)
    line[5, 3:37] = True
    for shift, ones, twos in ((0, 1, 1), (1, 1, 1), (2, 0, 1), (3, 0, 0)):
        found = surface_metrics(np.roll(line, shift, axis=0), line)
        assert tuple(found.values()) == (shift, shift, ones, twos)


@pytest.mark.parametrize("mask", [m for m, _ in WITH_BOTH[:: len(WITH_BOTH) // 20]])
def test_masks_that_are_empty(mask: np.ndarray) -> None:
    empty = np.zeros_like(mask)
    assert surface_metrics(empty, empty) == dict(zip(KEYS, (0, 0, 1, 1), strict=True))
    missed = dict(zip(KEYS, (None, None, 0, 0), strict=True))
    assert surface_metrics(empty, mask) == missed == surface_metrics(mask, empty)
    assert surface_metrics(mask, mask) == dict(zip(KEYS, (0, 0, 1, 1), strict=True))


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        surface_distances(EMPTY, ~EMPTY)
    with pytest.raises(ValueError, match="shape"):
        surface_metrics(EMPTY, EMPTY[:4])
    with pytest.raises(ValueError, match="truth must be a bool mask"):
        surface_metrics(EMPTY, np.full((6, 9), 255, np.uint8))
    with pytest.raises(ValueError, match="prediction must be a bool mask"):
        surface_metrics(EMPTY[0], EMPTY)
