"""Predictions are read as they were written; other pixels under the same names are noticed; cases are the extremes."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_run
from PIL import Image
from refusals import refusal

from flowseg.evaluation.overlays import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE, overlay, save_png
from flowseg.reports.compare.cases import choose_cases
from flowseg.reports.compare.pictures import (
    MAX_SIDE,
    check_same_pixels,
    difference_picture,
    read_pictures,
)
from flowseg.reports.compare.scores import read_scores
from flowseg.reports.webp import encode
from flowseg.runs.folder import open_run


@pytest.mark.parametrize("seed", range(10))
def test_masks_come_back_as_they_were_written(tmp_path: Path, seed: int) -> None:
    scores = read_scores(open_run(make_run(tmp_path / "a", scores={"dice": [0.8, 0.7]})))
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (32, 40), dtype=np.uint8)
    prediction, truth = rng.random((2, 32, 40)) < rng.random((2, 1, 1))
    folder = scores.folder / "images" / "0001"
    shutil.rmtree(folder)
    folder.mkdir()
    for name, picture in (
        ("image", image),
        ("truth", truth * np.uint8(255)),
        ("prediction", prediction * np.uint8(255)),
    ):
        save_png(folder / f"{name}.png", picture)
    found = read_pictures(scores, "test/0001")
    assert found is not None
    np.testing.assert_array_equal(found.prediction, prediction)
    np.testing.assert_array_equal(found.truth, truth)
    np.testing.assert_array_equal(found.views["prediction"], overlay(image, prediction, truth))


def test_a_difference_is_coloured_by_who_is_right(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(s), seed=s, scores={"dice": [0.8, 0.7]}) for s in (0, 1)]
    one, two = (read_pictures(read_scores(open_run(run)), "test/0002") for run in runs)
    assert one is not None and two is not None
    assert set(one.views) == {"image", "mask", "prediction", "probability", "uncertainty"}
    drawn = difference_picture(one, two)
    was, now = one.prediction == one.truth, two.prediction == two.truth
    for mask, colour in ((~was & now, TRUE_POSITIVE), (was & ~now, FALSE_POSITIVE), (~was & ~now, FALSE_NEGATIVE)):
        assert mask.any() and (drawn[mask] == colour).all()
    np.testing.assert_array_equal(drawn[was & now][:, 0], one.image[was & now] // 2)


def test_pictures_are_made_smaller_and_masks_kept_exactly() -> None:
    mask = (np.random.default_rng(0).random((60, 80)) < 0.5).astype(np.uint8) * 255
    with Image.open(io.BytesIO(encode(mask, exact=True))) as file:
        np.testing.assert_array_equal(np.asarray(file.convert("L")), mask)
    with Image.open(io.BytesIO(encode(np.zeros((1000, 500, 3), np.uint8), largest=MAX_SIDE))) as file:
        assert file.format == "WEBP" and file.size == (MAX_SIDE // 2, MAX_SIDE)


def test_other_pixels_under_one_name_are_refused(tmp_path: Path) -> None:
    ours = read_scores(open_run(make_run(tmp_path / "a", scores={"dice": [0.8, 0.7]})))
    same = read_scores(open_run(make_run(tmp_path / "b", seed=1, scores={"dice": [0.8, 0.7]})))
    other = read_scores(open_run(make_run(tmp_path / "c", scores={"dice": [0.8, 0.7]}, pixels=5)))
    larger = read_scores(open_run(make_run(tmp_path / "d", scores={"dice": [0.8, 0.7]}, size=(40, 60))))
    check_same_pixels(ours, same, ours.keys)
    for found in (other, larger):
        assert "test/0001 is another image, or has another label" in refusal(
            lambda found=found: check_same_pixels(ours, found, ours.keys)
        )
    shutil.rmtree(tmp_path / "c" / "eval" / "test" / "images")
    check_same_pixels(ours, other, ours.keys)  # nothing to see the difference by
    assert read_pictures(other, "test/0001") is None


def test_damaged_pictures_are_one_line(tmp_path: Path) -> None:
    scores = read_scores(open_run(make_run(tmp_path / "a", scores={"dice": [0.8, 0.7]})))
    path = scores.folder / "images" / "0001" / "probability.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    assert "the image (40, 48)" in refusal(lambda: read_pictures(scores, "test/0001"))
    path.write_bytes(b"no picture")
    assert "cannot be read as an image" in refusal(lambda: read_pictures(scores, "test/0001"))
    path.with_name("prediction.png").write_bytes(path.with_name("image.png").read_bytes())
    assert "prediction.png: holds other values than 0 and 255" in refusal(lambda: read_pictures(scores, "test/0001"))


def test_the_gallery_holds_the_extremes_once() -> None:
    keys = tuple(f"test/{i}" for i in range(8))
    a = np.array([0.5, 0.5, 0.5, 0.1, 0.5, 0.5, 0.5, 0.5])
    b = np.array([0.9, 0.8, 0.51, 0.1, 0.5, 0.49, 0.3, 0.2])
    found = {case.key: case for case in choose_cases(keys, {"a": a, "b": b}, per_kind=2)}
    assert [(k, c.kinds) for k, c in found.items()] == [
        ("test/0", ("improved",)),
        ("test/1", ("improved",)),
        ("test/7", ("worsened", "hardest")),
        ("test/6", ("worsened",)),
        ("test/3", ("hardest",)),
    ]
    assert found["test/0"].dice == {"a": 0.5, "b": 0.9} and found["test/0"].against == ("b",)
    # No difference is no improvement.
    assert all(case.kinds == ("hardest",) for case in choose_cases(keys, {"a": a, "b": a}))
