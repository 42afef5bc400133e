"""From probability to mask: the threshold, and which components are too small."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from flowseg.sampling.mask import MaskRule, components, without_small_components

SIZES = (0, 1, 2, 3, 5, 8, 20, 10_000)


def probabilities() -> list[np.ndarray]:
    """Maps with parts of many sizes, of many shapes; one is empty and one full."""
    rng = np.random.default_rng(0)
    made = [
        ndimage.gaussian_filter(rng.random(shape), width)
        for shape in ((1, 1), (1, 40), (33, 40))
        for width in (0, 1, 2)
    ]
    ranked = [((m - m.min()) / max(np.ptp(m), 1e-9)).astype(np.float32) for m in made]
    return [*ranked, np.zeros((9, 9), np.float32), np.ones((9, 9), np.float32)]


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    """8-connectivity: a diagonal of three is one part, and a pixel two away is another."""
    mask = np.eye(3, 9, dtype=bool)
    mask[1, 6] = True
    numbers, sizes = components(mask)
    assert sizes.tolist() == [27 - 4, 3, 1] and numbers[0, 0] == numbers[2, 2] == 1 and numbers[1, 6] == 2
    np.testing.assert_array_equal(without_small_components(mask, 3), np.eye(3, 9, dtype=bool))
    assert not without_small_components(mask, 4).any()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_left_are_the_whole_parts_of_at_least_that_size(size: int) -> None:
    for probability in probabilities():
        rule = MaskRule(0.5, size)
        plain, mask = probability > 0.5, rule.mask(probability)
        assert mask.dtype == np.bool_ and not (mask & ~plain).any(), "never adds a pixel"
        np.testing.assert_array_equal(without_small_components(mask, size), mask)  # idempotent
        labels, count = ndimage.label(plain, np.ones((3, 3)))
        for part in range(1, count + 1):
            inside = labels == part
            assert mask[inside].all() if inside.sum() >= size else not mask[inside].any()


def test_a_larger_size_leaves_less_and_none_leaves_all() -> None:
    for probability in probabilities():
        masks = [MaskRule(0.5, size).mask(probability) for size in SIZES]
        np.testing.assert_array_equal(masks[0], probability > 0.5)
        assert all(not (later & ~earlier).any() for earlier, later in pairwise(masks))


def test_parts_are_those_inside_the_field_of_view() -> None:
    """What lies outside neither joins parts nor makes them larger."""
    probability = np.zeros((5, 12), np.float32)
    probability[2] = 1
    fov = np.ones((5, 12), bool)
    fov[:, 4:6] = False
    mask = MaskRule(0.5, 5).mask(probability, fov)
    assert mask.sum() == 6 and mask[2, 6:].all()  # the four pixels on the left are a part of their own


def test_a_rule_is_told_in_words() -> None:
    assert str(MaskRule()) == str(MaskRule(0.5, 1)) == "probability above 0.5"
    assert str(MaskRule(0.47, 30)) == "probability above 0.47, components of fewer than 30 pixels removed"
