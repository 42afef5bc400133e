"""The check of a data set: each finding appears exactly when its cause is there."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_data import SHAPE, angiogram, make_data, save
from PIL import Image
from refusals import refusal

from flowseg.data.check.findings import Finding, Recipe, find_all
from flowseg.data.check.fit import measure_fit
from flowseg.data.check.similar import same_content, signature, similar_pairs
from flowseg.data.check.survey import read_survey


def load(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("made") / "data")


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of the set that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def check(root: Path, *recipes: Recipe) -> list[Finding]:
    survey = read_survey(root)
    signatures = {record.key: record.signature for record in survey.records}
    contents = {record.key: record.content for record in survey.records}
    return find_all(survey, similar_pairs(signatures, contents), recipes)


def change(path: Path, how: Callable[[np.ndarray], np.ndarray]) -> None:
    save(path, how(load(path)))


def copy(root: Path, old: str, new: str, kinds: tuple[str, ...] = ("image", "label")) -> None:
    for kind in kinds:
        (old_split, old_stem), (new_split, new_stem) = old.split("/"), new.split("/")
        shutil.copy(root / old_split / kind / f"{old_stem}.png", root / new_split / kind / f"{new_stem}.png")


def test_a_good_set_has_no_findings(made: Path) -> None:
    assert check(made) == []


def empty(root: Path) -> None:
    change(root / "train/label/1.png", np.zeros_like)


def full(root: Path) -> None:
    change(root / "train/label/1.png", lambda label: np.full_like(label, 255))


def inverted(root: Path) -> None:
    change(root / "train/image/1.png", lambda image: 255 - image)


def moved(root: Path) -> None:
    change(root / "train/label/1.png", lambda label: np.roll(label, (-4, -7), (0, 1)))


def flipped(root: Path) -> None:
    change(root / "train/label/1.png", lambda label: label[::-1])


def thick(root: Path) -> None:
    change(root / "train/label/1.png", lambda label: cv2.dilate(label, np.ones((11, 11), np.uint8)))


def short(root: Path) -> None:
    def cut(label: np.ndarray) -> np.ndarray:
        return np.where(np.arange(label.shape[1]) < 25, label, 0).astype(np.uint8)

    change(root / "train/label/1.png", cut)


def same_label(root: Path) -> None:
    copy(root, "train/0", "train/1", ("label",))


def same_image(root: Path) -> None:
    copy(root, "train/1", "train/6")


def same_image_elsewhere(root: Path) -> None:
    copy(root, "train/1", "test/copy")


def brighter_copy(root: Path) -> None:
    copy(root, "train/1", "test/copy")
    change(root / "test/image/copy.png", lambda image: (image * 0.8 + 40).astype(np.uint8))


def brighter_copy_beside(root: Path) -> None:
    copy(root, "train/1", "train/6")
    change(root / "train/image/6.png", lambda image: (image * 0.8 + 40).astype(np.uint8))


def colour(root: Path) -> None:
    change(root / "train/image/1.png", lambda image: np.stack([image, image, image // 2], axis=-1))


def deep(root: Path) -> None:
    change(root / "train/image/1.png", lambda image: image.astype(np.uint16) * 16)


def folder(root: Path) -> None:
    (root / "train_sam").mkdir()


def turned(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(root / "train/image/1.png").save(root / "train/image/1.png", exif=exif)


def beside_its_fov(root: Path) -> None:
    """Labels are inside their fields of view, but for part of one."""
    for number in range(6):
        fov = np.full(SHAPE, 255, np.uint8)
        save(root / f"train/fov/{number}.png", fov if number != 1 else np.where(np.arange(SHAPE[1]) < 90, fov, 0))


def groups(root: Path, **patients: str) -> None:
    named = {f"train/{number}": f"p{number}" for number in range(6)} | {
        key.replace("_", "/"): p for key, p in patients.items()
    }
    (root / "dataset.json").write_text(json.dumps({"groups": named}))


def one_patient(root: Path) -> None:
    groups(root, val_0="p1")


def renamed(root: Path) -> None:
    groups(root, train_6="p1")


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (empty, {("warning", "empty label"): ["train/1"]}),
        (full, {("warning", "full label"): ["train/1"]}),
        (inverted, {("warning", "other polarity"): ["train/1"]}),
        (moved, {("warning", "displaced label"): ["train/1"]}),
        (flipped, {("warning", "label does not fit"): ["train/1"]}),
        (thick, {
            ("note", "unusually much vessel"): ["train/1"],
            ("warning", "label does not fit"): ["train/1"],
        }),
        (short, {("note", "unusually little vessel"): ["train/1"]}),
        (same_image, {("note", "same image in one split"): ["train/1", "train/6"]}),
        (same_image_elsewhere, {("warning", "same image in two splits"): ["train/1", "test/copy"]}),
        (brighter_copy, {
            ("warning", "similar images in two splits"): ["train/1", "test/copy"],
            ("warning", "same label, other image"): ["train/1", "test/copy"],
        }),
        (brighter_copy_beside, {
            ("note", "similar images in one split"): ["train/1", "train/6"],
            ("warning", "same label, other image"): ["train/1", "train/6"],
        }),
        (same_label, {
            ("warning", "same label, other image"): ["train/0", "train/1"],
            ("warning", "label does not fit"): ["train/1"],
        }),
        (colour, {("note", "colour"): ["train/1"], ("note", "several depths"): []}),
        (deep, {("note", "several depths"): []}),
        (folder, {("note", "other folders"): []}),
        (turned, {("warning", "EXIF orientation"): ["train/1"]}),
        (beside_its_fov, {("warning", "vessels outside the field of view"): ["train/1"]}),
        (one_patient, {("warning", "one patient in two splits"): ["train/1", "val/0"]}),
        (renamed, {("warning", "patient not known"): ["test/0", "test/1", "test/2", "val/0", "val/1"]}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_cause_has_its_finding_and_no_other(
    root: Path, cause: Callable[[Path], None], expected: dict[tuple[str, str], list[str]]
) -> None:
    cause(root)
    found = check(root)
    assert {(one.severity, one.kind): list(one.images) for one in found} == expected
    assert all("\n" not in one.message for one in found)
    assert all(key in one.message for one in found for key in list(one.images)[:1])


def test_a_share_outside_the_field_of_view_and_both_images_of_a_patient_are_named(root: Path) -> None:
    beside_its_fov(root)
    one_patient(root)
    patient, outside = check(root)
    assert "by dataset.json (1 patient): train/1 and val/0;" in patient.message
    label = load(root / "train/label/1.png") > 0
    assert f"train/1 ({label[:, 90:].sum() / label.sum():.2%} of its vessel pixels)" in outside.message
    (root / "dataset.json").write_text("[")
    assert check(root)[0].message.startswith(f"{root / 'dataset.json'}: cannot be read")


def test_the_same_image_with_two_labels(root: Path) -> None:
    same_image_elsewhere(root)
    change(root / "test/label/copy.png", lambda label: cv2.erode(label, np.ones((2, 2), np.uint8)))
    assert {finding.kind for finding in check(root)} == {"same image in two splits", "same image, other label"}


def test_a_displaced_label_is_told_where_it_belongs(root: Path) -> None:
    moved(root)
    assert "train/1 by (+7, +4) pixels" in check(root)[0].message


def test_the_majority_decides_on_the_polarity(root: Path) -> None:
    for path in root.glob("*/image/*.png"):
        change(path, lambda image: 255 - image)
    assert check(root) == []
    change(root / "val/image/0.png", lambda image: 255 - image)
    (found,) = check(root)
    assert (found.kind, found.images) == ("other polarity", ["val/0"])
    assert "vessels darker than their surroundings, where the other labels' are brighter" in found.message


def test_a_label_in_the_wrong_place_has_no_polarity(made: Path) -> None:
    survey = read_survey(made)
    first, *others = survey.records
    assert first.fit is not None
    for displaced, kinds in ((False, {"other polarity"}), (True, {"displaced label"})):
        fit = replace(first.fit, contrast=0.5, displaced=displaced)
        found = find_all(replace(survey, records=[replace(first, fit=fit), *others]), [], [])
        assert {one.kind for one in found} == kinds


def test_labels_of_fields_of_view_are_doubted(root: Path) -> None:
    for path in (root / "val" / "label").iterdir():
        field = np.zeros(SHAPE, np.uint8)
        field[4:-4, 4:-4] = 255
        save(path, field)
    messages = [one.message for one in check(root) if one.kind == "implausible coverage"]
    assert len(messages) == 1 and "of the labels of val are vessel" in messages[0]


def test_all_mistakes_are_collected(root: Path) -> None:
    (root / "train/image/0.png").write_bytes(b"no picture")
    (root / "train/label/1.png").unlink()
    change(root / "train/label/2.png", lambda label: label // 2 + np.eye(*SHAPE, dtype=np.uint8))
    change(root / "val/label/0.png", lambda label: label[1:])
    (root / "val/image/1.png").write_bytes(b"")
    (root / "val/label/1.png").write_bytes(b"")
    change(root / "test/image/0.png", lambda image: np.full_like(image, 7))
    (root / "test/label/1.png").rename(root / "test/label/stray.png")
    messages = [finding.message for finding in check(root) if finding.severity == "error"]
    expected = [
        ("train/image/1.png", "has no label"),
        ("test/image/1.png", "has no label"),
        ("test/label/stray.png", "has no image"),
        ("train/image/0.png", "cannot be read as an image"),
        ("train/label/2.png", "this one has 4 values"),
        ("val/label/0.png", "is 112x95 but its image is 112x96"),
        ("val/image/1.png", "cannot be read as an image"),
        ("val/label/1.png", "cannot be read as an image"),
        ("test/image/0.png", "every pixel has the value 7"),
    ]
    assert len(messages) == len(expected)
    for message, (file, said) in zip(messages, expected, strict=True):
        assert message.startswith(f"{root / file}: ") and said in message


def test_a_missing_split_is_an_error_and_the_others_are_checked(root: Path) -> None:
    shutil.rmtree(root / "val")
    empty(root)
    found = check(root)
    assert [(one.severity, one.kind) for one in found] == [("error", "file"), ("warning", "empty label")]
    assert found[0].message.startswith(f"{root}/val: no such folder; expected")


@pytest.mark.parametrize("name", ["nowhere", "data/train"])
def test_what_is_no_data_set_is_refused(root: Path, name: str) -> None:
    path = root.parent / name
    assert refusal(lambda: read_survey(path)).startswith(f"{path}")


def test_small_images_are_judged_by_recipe(root: Path) -> None:
    large, small, scaled = Recipe("full", 200, None), Recipe("tiny", 96, None), Recipe("reduced", 80, 80)
    assert check(root, small) == []
    kinds = {(one.severity, one.kind) for one in check(root, Recipe("full", 112, None))}
    assert kinds == {("note", "smaller than a crop")}
    (refused,) = check(root, large, small)
    assert (refused.severity, refused.kind, len(refused.images)) == ("warning", "too small", 6)
    (hopeless,) = check(root, large)
    assert (hopeless.severity, hopeless.kind) == ("error", "too small")
    # 112 x 96 pixels become 80 x 69.
    assert [one.kind for one in check(root, scaled)] == ["smaller than a crop"]


def test_similarity_does_not_depend_on_size_brightness_contrast_or_shading() -> None:
    image, label = angiogram(0)
    values = image.astype(np.float32) / 255
    own = signature(values, label > 0)
    twice = [np.repeat(np.repeat(array, 2, 0), 2, 1) for array in (values, label > 0)]
    assert own @ own == pytest.approx(1, abs=1e-5)
    assert own @ signature(*twice) > 0.99
    assert own @ signature(0.7 * values - 0.2, label > 0) > 0.95
    shade = np.linspace(-2, 2, SHAPE[1], dtype=np.float32)
    assert own @ signature(values + shade, label > 0) > 0.95
    other = [signature(angiogram(seed)[0].astype(np.float32) / 255, angiogram(seed)[1] > 0) for seed in range(1, 9)]
    assert max(own @ one for one in other) < 0.3


def test_every_pair_is_compared_whatever_the_block() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1100, 40)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1050], vectors[700] = vectors[3], vectors[699]
    names = [f"train/{i}" for i in range(1100)]
    done: list[int] = []
    contents = {name: name for name in names}
    found = similar_pairs(dict(zip(names, vectors, strict=True)), contents, done.append)
    expected = np.triu(vectors @ vectors.T, 1) >= 0.4
    assert {(one.a, one.b) for one in found} == {(names[i], names[j]) for i, j in np.argwhere(expected)}
    assert sum(done) == 1100
    equal = {**contents, names[1050]: names[3], names[700]: names[699]}
    assert len(similar_pairs(dict(zip(names, vectors, strict=True)), equal)) == len(found) - 2


def test_same_content_groups_names() -> None:
    assert same_content({"a": "1", "b": "2", "c": "1", "d": "3", "e": "1"}) == [["a", "c", "e"]]


@pytest.mark.parametrize("value", [0, 1])
def test_an_empty_or_full_label_has_no_fit(value: int) -> None:
    image = angiogram(0)[0].astype(np.float32)
    assert measure_fit(image, np.full(SHAPE, value, bool)) is None


@pytest.mark.parametrize("scale", [1, 8])
@pytest.mark.parametrize("move", [(0, 0), (3, -3)])
def test_the_move_is_in_stored_pixels(move: tuple[int, int], scale: int) -> None:
    image, label = (np.repeat(np.repeat(array, scale, 0), scale, 1) for array in angiogram(3))
    right, down = (step * scale for step in move)
    fit = measure_fit(image.astype(np.float32), np.roll(label, (-down, -right), (0, 1)) > 0)
    assert fit is not None and fit.displaced == (move != (0, 0))
    assert np.abs(np.subtract(fit.move, (right, down))).max() <= max(1, scale / 2)
