"""Where masks differ, on a cross with one junction and changes placed by hand."""

import numpy as np
import pytest

from flowseg.evaluation.mask_difference import RADIUS, MaskDifference, enrichment, mask_difference, totals
from flowseg.evaluation.topology import Shape

CROSS = np.zeros((61, 61), dtype=bool)
CROSS[30], CROSS[:, 30] = True, True
Y, X = np.mgrid[:61, :61] - 30


def test_pixels_are_counted_where_they_lie() -> None:
    first = CROSS.copy()
    first[30, 28] = False  # at the junction
    first[30, 2] = False  # on the vessel, far from it
    first[5, 5] = True  # far from any vessel
    found = mask_difference(first, CROSS, Shape(CROSS))
    assert (found.differing, found.differing_near, found.differing_band) == (3, 1, 2)
    assert found.pixels == 61 * 61
    assert found.band == np.count_nonzero((np.abs(X) <= RADIUS) | (np.abs(Y) <= RADIUS))
    # The junction is the cross's centre or a cluster around it.
    assert np.count_nonzero(np.hypot(X, Y) <= RADIUS) <= found.near <= np.count_nonzero(np.hypot(X, Y) <= RADIUS + 1.5)


def test_differences_everywhere_prefer_no_place() -> None:
    rows = [mask_difference(np.zeros_like(CROSS), np.ones_like(CROSS), Shape(CROSS))] * 3
    for band in (False, True):
        found = enrichment(rows, band=band)
        assert (found.ratio, found.low, found.high) == pytest.approx((1, 1, 1))


def test_a_ratio_pools_images_and_spans_them() -> None:
    at, away = MaskDifference(1000, 50, 200, 10, 8, 10), MaskDifference(1000, 50, 200, 30, 0, 15)
    rows = [at, away] * 10
    assert totals(rows) == MaskDifference(20_000, 1000, 4000, 400, 80, 250)
    everywhere, in_band = enrichment(rows, band=False), enrichment(rows, band=True)
    assert everywhere.ratio == pytest.approx((80 / 400) / (1000 / 20_000))
    assert in_band.ratio == pytest.approx((80 / 250) / (1000 / 4000))
    for found in (everywhere, in_band):
        assert found.low is not None and found.high is not None and found.ratio is not None
        assert found.low < found.ratio < found.high
    assert enrichment(rows, band=True) == in_band


def test_masks_that_differ_in_few_images_have_no_interval() -> None:
    """Where they differ in one image of twenty, a third of the resamples have no ratio."""
    one, same = MaskDifference(1000, 50, 200, 10, 8, 10), MaskDifference(1000, 50, 200, 0, 0, 0)
    few, many = enrichment([one, *[same] * 19], band=True), enrichment([one] * 4 + [same] * 16, band=True)
    assert few.ratio is not None and few.low is few.high is None
    assert many.ratio is not None and many.low is not None


def test_no_difference_or_no_junction_has_no_ratio() -> None:
    same = mask_difference(CROSS, CROSS, Shape(CROSS))
    straight = np.zeros_like(CROSS)
    straight[30] = True
    no_junction = mask_difference(CROSS, straight, Shape(straight))
    empty = mask_difference(CROSS, straight, Shape(np.zeros_like(CROSS)))
    assert same.differing == 0 and no_junction.near == 0 and no_junction.differing == 60
    assert empty.band == 0
    for row in (same, no_junction, empty):
        assert enrichment([row, row], band=True).ratio is None
        assert enrichment([row, row], band=False).ratio is None
    assert enrichment([mask_difference(straight, CROSS, Shape(CROSS))], band=False).low is None
