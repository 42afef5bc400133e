"""The decomposition of modulation into a constant and an image-dependent part, on cases solved by hand."""

import numpy as np
import pytest

from flowseg.evaluation.modulation import decompose, modulation


def test_the_same_for_every_image_is_all_constant() -> None:
    values = np.tile(np.array([0.1, -0.3, 1 / 3]), (7, 1))
    found = decompose(values)
    assert found.between == 0 and found.share == 0
    assert found.total == found.constant == pytest.approx((0.01 + 0.09 + 1 / 9) / 3)


def test_a_zero_mean_is_all_image_dependent() -> None:
    found = decompose(np.array([[1.0, -2.0], [-1.0, 2.0]]))
    assert found.constant == 0 and found.share == 1
    assert found.total == found.between == pytest.approx((1 + 4) / 2)


def test_no_modulation_has_no_share() -> None:
    found = decompose(np.zeros((4, 3)))
    assert (found.total, found.constant, found.between, found.share) == (0, 0, 0, None)


def test_parts_add_up_to_the_mean_square() -> None:
    values = np.random.default_rng(0).normal(0.5, 2, (500, 8))
    found = decompose(values)
    assert found.total == pytest.approx(np.mean(values**2))
    assert found.constant + found.between == pytest.approx(found.total)
    # Mean 0.5, deviation 2: 0.25 of 4.25 is constant.
    assert found.share == pytest.approx(4 / 4.25, abs=0.01)


def test_stages_keep_their_numbers_and_gamma_is_counted_from_one() -> None:
    ones, zeros = np.ones((3, 4)), np.zeros((3, 4))
    varied = np.array([[1.0], [2.0], [3.0]])
    rows = modulation([(ones, zeros), (varied, varied)], (1, 3))
    assert [row.stage for row in rows] == [1, 3]
    assert rows[0].gamma.share is None and rows[0].beta.share is None
    assert rows[1].gamma.constant == pytest.approx(1) and rows[1].beta.constant == pytest.approx(4)
    assert rows[1].gamma.between == rows[1].beta.between == pytest.approx(2 / 3)


def test_what_has_no_moments_is_refused() -> None:
    for values in (np.zeros((0, 3)), np.zeros(3), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="finite values"):
            decompose(values)
