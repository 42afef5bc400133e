"""Masks with known Betti numbers, skeletons and junctions; on random masks against independent counts."""

from collections import deque

import gudhi
import numpy as np
import pytest
from mask_pairs import degenerate_pairs, random_pairs

from flowseg.evaluation.topology import Betti, Shape, betti, cldice, junctions, skeleton, topology_metrics, within


def drawn(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


EMPTY = np.zeros((5, 6), dtype=bool)
RING = drawn("......", ".####.", ".#..#.", ".####.", "......")
SHAPES = {
    "empty": (EMPTY, Betti(0, 0)),
    "full": (np.ones((5, 6), dtype=bool), Betti(1, 0)),
    "one pixel": (drawn("...", ".#.", "..."), Betti(1, 0)),
    "two blobs": (drawn("##...", "##.##", "...##"), Betti(2, 0)),
    "ring": (RING, Betti(1, 1)),
    "ring on the border": (drawn("###", "#.#", "###"), Betti(1, 1)),
    "open ring": (drawn("###", "#.#", "#.#"), Betti(1, 0)),
    "figure eight": (drawn("###", "#.#", "###", "#.#", "###"), Betti(1, 2)),
    "diagonal pixels are one": (drawn("#..", ".#.", "..#"), Betti(1, 0)),
    "a diamond of corners closes": (drawn(".#.", "#.#", ".#."), Betti(1, 1)),
    "holes that touch at a corner are two": (drawn("####", "#.##", "##.#", "####"), Betti(1, 2)),
    "a dot in a ring": (drawn("#####", "#...#", "#.#.#", "#...#", "#####"), Betti(2, 1)),
}


def parts(mask: np.ndarray, diagonal: bool) -> list[set[tuple[int, int]]]:
    """The connected parts of a mask, by flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        part, queue = set(), deque([left.pop()])
        while queue:
            y, x = queue.popleft()
            part.add((y, x))
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if (diagonal or not (dy and dx)) and (y + dy, x + dx) in left:
                        left.remove((y + dy, x + dx))
                        queue.append((y + dy, x + dx))
        found.append(part)
    return found


def counted(mask: np.ndarray) -> Betti:
    """Betti numbers by flood fill of foreground and background; the background outside the image is not a hole."""
    outside = parts(np.pad(~mask, 1, constant_values=True), diagonal=False)
    return Betti(len(parts(mask, diagonal=True)), len(outside) - 1)


def random_masks(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(rng.integers(1, 20, 2)) < rng.uniform(0.05, 0.95) for _ in range(count)]


@pytest.mark.parametrize("name", SHAPES)
def test_known_betti_numbers(name: str) -> None:
    mask, expected = SHAPES[name]
    assert betti(mask) == expected == counted(mask)


def test_betti_numbers_of_random_masks_are_those_of_flooding() -> None:
    for mask in random_masks(150):
        assert betti(mask) == counted(mask)


def test_betti_numbers_are_those_of_gudhi_s_homology() -> None:
    """gudhi's complex consists of closed pixels, which meet at corners like 8-connected foreground."""
    masks = {m.tobytes() + bytes(m.shape): m for pair in degenerate_pairs() + random_pairs(200) for m in pair}
    assert len(masks) > 350
    for mask in masks.values():
        cells = gudhi.CubicalComplex(top_dimensional_cells=np.where(mask, 0.0, 1.0))
        cells.compute_persistence(min_persistence=-1)  # keep short-lived features too
        numbers = cells.persistent_betti_numbers(0.0, 0.5)
        assert betti(mask) == Betti(*numbers[:2])


def test_errors_are_differences_of_betti_numbers_and_cldice_is_counted_pixel_by_pixel() -> None:
    partial = 0
    for prediction, truth in degenerate_pairs() + random_pairs(200):
        found = topology_metrics(Shape(prediction), Shape(truth))
        of_prediction, of_truth = betti(prediction), betti(truth)
        assert found["betti0_error"] == abs(of_prediction.b0 - of_truth.b0)
        assert found["betti1_error"] == abs(of_prediction.b1 - of_truth.b1)
        lines = [{tuple(p) for p in np.argwhere(skeleton(m))} for m in (prediction, truth)]
        masks = [{tuple(p) for p in np.argwhere(m)} for m in (prediction, truth)]
        if not all(masks):
            assert found["cldice"] == (not any(masks))
            continue
        precise, sensitive = len(lines[0] & masks[1]) / len(lines[0]), len(lines[1] & masks[0]) / len(lines[1])
        total = precise + sensitive
        assert found["cldice"] == pytest.approx(2 * precise * sensitive / total if total else 0)
        partial += 0 < found["cldice"] < 1 and precise != sensitive
    assert partial > 150


def test_a_skeleton_is_thin_and_keeps_the_mask_s_shape() -> None:
    for mask in random_masks(150):
        thin = skeleton(mask)
        assert not (thin & ~mask).any()
        assert betti(thin) == betti(mask)
    thin = skeleton(np.ones((9, 41), dtype=bool))
    assert (thin.sum(axis=0) <= 1).all() and thin.any()


def test_cldice_counts_skeleton_pixels() -> None:
    """The true line is 20 pixels long and 3 wide, the predicted one 10 and 1: full precision, half the sensitivity."""
    truth, prediction = np.zeros((7, 24), dtype=bool), np.zeros((7, 24), dtype=bool)
    truth[2:5, 2:22] = True
    prediction[3, 2:12] = True
    line = skeleton(truth)
    sensitivity = (line & prediction).sum() / line.sum()
    assert cldice(Shape(prediction), Shape(truth)) == pytest.approx(2 * sensitivity / (1 + sensitivity))
    assert 0.3 < sensitivity < 0.7
    # A thicker mask with the same centreline has a lower Dice, but not a lower clDice.
    assert cldice(Shape(truth), Shape(skeleton(truth))) == 1


def test_masks_that_are_empty() -> None:
    perfect = {"cldice": 1, "betti0_error": 0, "betti1_error": 0}
    assert topology_metrics(Shape(EMPTY), Shape(EMPTY)) == perfect == topology_metrics(Shape(RING), Shape(RING))
    missed = {"cldice": 0, "betti0_error": 1, "betti1_error": 1}
    assert topology_metrics(Shape(EMPTY), Shape(RING)) == missed == topology_metrics(Shape(RING), Shape(EMPTY))
    apart = drawn("#...", "....", "...#")
    assert cldice(Shape(apart), Shape(drawn("....", ".#..", "...."))) == 0


def test_junctions_are_where_lines_meet() -> None:
    cross = np.zeros((11, 11), dtype=bool)
    cross[5], cross[:, 5] = True, True
    found = np.argwhere(junctions(cross))
    assert len(found) and (np.abs(found - 5).max(axis=1) <= 1).all()
    radius = np.hypot(*(np.mgrid[:41, :41] - 20))
    for without in (np.eye(9, dtype=bool), skeleton((radius > 12) & (radius < 16))):
        assert without.any() and not junctions(without).any()
    assert not junctions(EMPTY).any()


def test_within_is_euclidean_and_empty_without_places() -> None:
    places = np.zeros((11, 11), dtype=bool)
    places[5, 5] = True
    y, x = np.mgrid[:11, :11] - 5
    np.testing.assert_array_equal(within(places, 3.0), np.hypot(y, x) <= 3)
    assert not within(EMPTY, 100.0).any()


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="bool"):
        betti(np.full((3, 3), 255, np.uint8))
    with pytest.raises(ValueError, match="shape"):
        topology_metrics(Shape(EMPTY), Shape(RING[:4]))
