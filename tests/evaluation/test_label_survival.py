"""How far images can be scaled down, told from their labels."""

from pathlib import Path

import cv2
import numpy as np
from refusals import refusal

from flowseg.commands.presets import PHANTOMS, cpu_preset
from flowseg.config import Config
from flowseg.evaluation.label_survival import KEPT, SIDES, Survival, label_survival, reduced_size, working_side
from flowseg.phantoms.angiogram import write_phantoms


def stripes(width: int, side: int = 480) -> np.ndarray:
    """A label of slanted stripes of some width, as far apart as they are wide."""
    y, x = np.mgrid[:side, :side]
    return (x + y // 3) % (2 * width) < width


def written(root: Path, *labels: np.ndarray) -> Path:
    for folder in ("image", "label"):
        (root / "train" / folder).mkdir(parents=True)
    for i, label in enumerate(labels):
        for folder in ("image", "label"):
            cv2.imwrite(str(root / "train" / folder / f"{i}.png"), 255 * label.astype(np.uint8))
    return root


def test_wide_vessels_survive_what_narrow_ones_do_not() -> None:
    kept = [[label_survival(stripes(width), side) for side in (60, 120, 240, 480, 800)] for width in (3, 6, 12)]
    assert (np.diff(kept, axis=0)[:, :3] > 0).all()
    assert (np.diff(kept, axis=1)[:, :3] > 0).all()
    assert [row[3:] for row in kept] == [[1, 1]] * 3  # nothing is scaled up
    assert label_survival(np.zeros((40, 40), bool), 16) == 1


def test_the_size_follows_the_labels_mean(tmp_path: Path) -> None:
    wide, narrow = (working_side(written(tmp_path / str(n), stripes(n))).side for n in (24, 3))
    assert wide == 192 and narrow is not None and 224 < narrow < 480
    mixed, kept, _ = working_side(written(tmp_path / "mixed", stripes(3), stripes(24)))
    assert mixed is not None and wide < mixed <= narrow and kept >= KEPT


def test_labels_that_survive_no_size_are_left_at_their_own(tmp_path: Path) -> None:
    assert working_side(written(tmp_path / "fine", stripes(1, side=1500))) == (None, 1.0, 1500)


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    assert "train" in refusal(lambda: working_side(tmp_path))


def test_the_phantoms_survive_the_size_that_the_reduced_recipe_has_for_them(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "phantoms", counts={"train": 8, "val": 0, "test": 0})
    side = working_side(tmp_path / "phantoms").side
    assert side is not None and PHANTOMS.max_side is not None and side <= PHANTOMS.max_side


def test_crops_are_no_larger_than_most_images() -> None:
    """Larger ones would be filled with mirror images; a set of few pixels is trained on for a shorter time."""
    for longer, images, crop, few in ((96, 399, 96, True), (96, 400, 96, False), (200, 100, 192, False)):
        found = reduced_size(images, Survival(192, 1.0, longer))
        assert (found.crop, found.few) == (crop, few), longer
    assert [reduced_size(500, Survival(192, 1.0, longer)).crop for longer in (10, 50, 300)] == [16, 48, 256]


def test_the_reduced_recipe_takes_every_size() -> None:
    for longer in range(10, 600):
        for images in (5, 500):
            for side in (*SIDES, None):
                size = reduced_size(images, Survival(side, 1.0, longer))
                assert cpu_preset(Config(), size).data.crop == size.crop <= max(longer, 16)
