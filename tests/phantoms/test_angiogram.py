"""The phantom angiograms are reproducible and realistic, and are written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from flowseg.phantoms import angiogram
from flowseg.phantoms.angiogram import COUNTS, PHANTOM_VERSION, draw_phantom, write_phantoms
from flowseg.phantoms.default import phantom_root
from flowseg.phantoms.tree import Tube, add_tube

SMALL = {"train": 3, "val": 1, "test": 2}
Watch = Callable[[Callable[[int, int], object]], None]


@pytest.fixture
def after_image(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Makes the writing call a function with (done, total) after each image."""

    def watch(call: Callable[[int, int], object]) -> None:
        @contextmanager
        def task(name: str, total: int) -> Iterator[Callable[[], None]]:
            done = 0

            def advance() -> None:
                nonlocal done
                done += 1
                call(done, total)

            yield advance

        monkeypatch.setattr(angiogram, "task", task)

    return watch


def test_same_arguments_give_the_same_bytes() -> None:
    image, label = draw_phantom(0, 7, 128)
    again, label_again = draw_phantom(0, 7, 128)
    assert image.tobytes() == again.tobytes()
    assert label.tobytes() == label_again.tobytes()


@pytest.mark.parametrize(("seed", "index"), [(0, 8), (1, 7)])
def test_another_index_or_seed_gives_another_image(seed: int, index: int) -> None:
    image, label = draw_phantom(0, 7, 128)
    other, label_other = draw_phantom(seed, index, 128)
    assert (image != other).mean() > 0.5
    assert (label != label_other).any()


@pytest.mark.parametrize("size", [96, 128, 512])
def test_shape_and_values(size: int) -> None:
    image, label = draw_phantom(3, 1, size)
    assert image.shape == label.shape == (size, size)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) == {0, 255}
    assert image.std() > 3


def test_vessel_fraction() -> None:
    fractions = np.array([(draw_phantom(0, index)[1] > 0).mean() for index in range(12)])
    assert 0.04 < fractions.mean() < 0.085
    assert fractions.min() > 0.01
    assert fractions.max() < 0.14


def test_vessels_are_darker_than_their_surroundings() -> None:
    contrast = []
    for index in range(10):
        image, label = draw_phantom(0, index, 256)
        near = cv2.dilate(label, np.ones((5, 5), np.uint8)) > 0
        ring = (cv2.dilate(label, np.ones((15, 15), np.uint8)) > 0) & ~near
        contrast.append(float(image[ring].mean()) - float(image[label > 0].mean()))
    assert min(contrast) > 0
    assert np.mean(contrast) > 8


def test_sizes_show_the_same_scene() -> None:
    _, large = draw_phantom(0, 2, 512)
    _, small = draw_phantom(0, 2, 256)
    shrunk = cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA) > 127
    overlap = 2 * (shrunk & (small > 0)).sum() / (shrunk.sum() + (small > 0).sum())
    assert overlap > 0.8


def test_a_tube_is_as_thick_as_it_is_wide() -> None:
    points = np.stack([np.arange(100.0, 400.0, 0.5), np.full(600, 256.0)], axis=1)
    thickness = np.zeros((512, 512), np.float32)
    label = np.zeros((512, 512), np.uint8)
    add_tube(Tube(points, np.full(600, 6.0), np.full(600, 0.5)), thickness, label)
    assert thickness[256, 250] == pytest.approx(0.5 * 12.0, rel=1e-3)
    assert thickness[259, 250] == pytest.approx(0.5 * 2 * np.sqrt(36 - 9), rel=2e-2)
    assert (label[:, 250] > 0).sum() == 13
    assert not (thickness[label == 0] > 0).any()


def test_layout(tmp_path: Path, after_image: Watch) -> None:
    root = tmp_path / "cache" / "phantoms"
    seen: list[tuple[int, int]] = []
    after_image(lambda done, total: seen.append((done, total)))
    write_phantoms(root, seed=5, size=96, counts=SMALL)
    assert seen == [(done, 6) for done in range(1, 7)]
    assert [path.name for path in root.parent.iterdir()] == [root.name]
    names = {split: sorted(path.name for path in (root / split / "image").iterdir()) for split in SMALL}
    assert names == {
        "train": ["0000.png", "0001.png", "0002.png"],
        "val": ["0003.png"],
        "test": ["0004.png", "0005.png"],
    }
    for split, files in names.items():
        assert sorted(path.name for path in (root / split / "label").iterdir()) == files
    image, label = draw_phantom(5, 4, 96)
    with Image.open(root / "test" / "image" / "0004.png") as written:
        assert written.mode == "L"
        np.testing.assert_array_equal(np.asarray(written), image)
    with Image.open(root / "test" / "label" / "0004.png") as written:
        np.testing.assert_array_equal(np.asarray(written), label)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, after_image: Watch) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    after_image(stop)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "phantoms", size=96, counts=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_another_process_that_was_first_keeps_its_files(tmp_path: Path, after_image: Watch) -> None:
    root = tmp_path / "phantoms"

    def finish(done: int, total: int) -> None:
        root.mkdir(exist_ok=True)
        (root / "theirs").write_text("whole")

    after_image(finish)
    write_phantoms(root, size=96, counts={"val": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["phantoms"]
    assert [path.name for path in root.iterdir()] == ["theirs"]
    assert "exists already" in refusal(lambda: write_phantoms(root, size=96, counts={"val": 1}))
    assert [path.name for path in root.iterdir()] == ["theirs"]


def test_a_failed_rename_is_reported(tmp_path: Path, after_image: Watch) -> None:
    root = tmp_path / "phantoms"
    after_image(lambda done, total: root.write_text("a file where the folder should go"))
    with pytest.raises(OSError):
        write_phantoms(root, size=96, counts={"val": 1})
    assert list(tmp_path.iterdir()) == [root]


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path))
    assert phantom_root() == tmp_path / f"phantom-v{PHANTOM_VERSION}-512-seed0"


def test_counts() -> None:
    assert COUNTS == {"train": 155, "val": 20, "test": 46}
