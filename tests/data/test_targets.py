"""Targets: the original's numbers, and what must hold for any mask."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowseg.data.targets import make_target, mask_target, sauna_target

SHAPE = (48, 64)


def _masks() -> dict[str, np.ndarray]:
    """Masks of every awkward kind."""
    masks = {name: np.zeros(SHAPE, bool) for name in ("pixel", "corner", "line", "border", "hole", "thick and thin")}
    masks["pixel"][20, 30] = True
    masks["corner"][0, 0] = True
    masks["line"][:, 7] = True
    masks["border"][:5] = True
    masks["hole"][...] = True
    masks["hole"][10, 10] = False
    masks["thick and thin"][5:25, 5:25] = True
    masks["thick and thin"][30, 40:60] = True
    masks["speckle"] = np.random.default_rng(0).random(SHAPE) > 0.9
    return masks


MASKS = _masks()


def test_sauna_is_the_original_s(shared: Path) -> None:
    with np.load(shared / "parity" / "sauna_targets_128px.npz") as archive:
        masks, expected = archive["mask"], archive["sauna_h"]
    assert len(masks) == 6
    for mask, theirs in zip(masks, expected, strict=True):
        np.testing.assert_allclose(sauna_target(mask > 0), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["sauna", "mask"])
@pytest.mark.parametrize("vessel", [False, True])
def test_an_empty_mask_gives_minus_one_a_full_one_plus_one(kind: str, vessel: bool) -> None:
    target = make_target(np.full(SHAPE, vessel), kind)  # type: ignore[arg-type]
    np.testing.assert_array_equal(target, np.full(SHAPE, 1 if vessel else -1, np.float32))
    assert target.dtype == np.float32


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_sauna_is_positive_on_vessels_and_only_there(mask: np.ndarray) -> None:
    target = make_target(mask, "sauna")
    assert target.shape == mask.shape and target.dtype == np.float32
    assert target.min() >= -1 and target.max() <= 1
    np.testing.assert_array_equal(target > 0, mask)
    assert (target != 0).all()


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_sauna_turns_with_its_mask(mask: np.ndarray) -> None:
    target = sauna_target(mask)
    np.testing.assert_allclose(sauna_target(mask[::-1]), target[::-1], atol=1e-4)
    np.testing.assert_allclose(sauna_target(mask[:, ::-1]), target[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(sauna_target(mask.T), target.T, atol=1e-4)


def test_sauna_grades_a_thick_vessel_but_not_a_thin_one() -> None:
    target = sauna_target(MASKS["thick and thin"])
    thick, thin = target[5:25, 5:25], target[30, 42:58]
    assert thick[9:11, 9:11].min() == 1  # sure in the middle
    assert thick[0].max() < 0.6  # unsure at the border
    assert (np.diff(thick[:10, 10]) >= 0).all()
    assert thin.min() > 0.9  # of a thin vessel every pixel counts
    assert target[47, 63] == -1


def test_sauna_of_the_phantoms_has_their_labels_sign(tiny_data: Path) -> None:
    for path in sorted((tiny_data / "train" / "label").iterdir()):
        mask = np.asarray(Image.open(path)) > 0
        np.testing.assert_array_equal(make_target(mask, "sauna") > 0, mask)


def test_mask_target_is_two_m_minus_one() -> None:
    mask = MASKS["speckle"]
    np.testing.assert_array_equal(make_target(mask, "mask"), 2 * mask.astype(np.float32) - 1)
    assert mask_target(mask).dtype == np.float32
