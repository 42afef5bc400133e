"""Each public data set, in the layout in which it is downloaded, becomes a data set of flowseg."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from downloads import (
    DOWNLOADS,
    DRAW,
    Drawn,
    arcade,
    chase_db1,
    drive,
    hrf,
    imported,
    mask_of,
    octa500_3mm,
    pack,
    pixels,
    put,
    rossa,
    stare,
    stems,
    xcad,
)
from PIL import Image
from refusals import refusal

from flowseg.commands.data import Name
from flowseg.config import DataConfig
from flowseg.data.dataset import Dataset
from flowseg.data.folders import SPLITS
from flowseg.datasets.build import Drawing, import_set
from flowseg.datasets.pixels import Values
from flowseg.datasets.table import SETS

REPO = Path(__file__).resolve().parents[2]


def label_of(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, np.uint8(255), np.uint8(0))


def check_files(out: Path, drawn: list[Drawn]) -> None:
    """Every image is written once with its pixels as stored, beside its label and its field of view."""
    found = {(split, path.stem) for split in SPLITS for path in (out / split / "image").iterdir()}
    assert len(found) == len(drawn)
    for case in drawn:
        splits = [split for split, stem in found if stem == case.stem and case.split in (None, split)]
        if len(splits) > 1:  # the same name in two parts of the set
            splits = [s for s in splits if s != "test"]
        folder = out / splits[0]
        np.testing.assert_array_equal(pixels(folder / "image" / f"{case.stem}.png"), pixels(case.image))
        np.testing.assert_array_equal(pixels(folder / "label" / f"{case.stem}.png"), label_of(case.mask))
        fov = folder / "fov" / f"{case.stem}.png"
        assert fov.exists() == (case.fov is not None)
        if case.fov is not None:
            np.testing.assert_array_equal(pixels(fov), label_of(case.fov))
        found.remove((splits[0], case.stem))


@pytest.mark.parametrize("name", SETS)
def test_every_file_of_a_set_arrives_unchanged(name: str, tmp_path: Path) -> None:
    drawn = DOWNLOADS[name](tmp_path / "raw")
    out = tmp_path / "out"
    split = imported(name, tmp_path / "raw", out)
    check_files(out, drawn)
    about = json.loads((out / "dataset.json").read_text())
    assert about["counts"] == {part: len(split[part]) for part in SPLITS} and min(about["counts"].values()) > 0
    assert about["field_of_view_masks"] == sum(case.fov is not None for case in drawn)
    for field in ("name", "title", "source", "licence", "citation", "split", "written_by"):
        assert about[field], field


@pytest.mark.parametrize("name", SETS)
def test_archives_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    drawn = DOWNLOADS[name](tmp_path / "raw")
    shutil.copytree(tmp_path / "raw", tmp_path / "copy")
    archive = pack(tmp_path / "set.zip", tmp_path / "copy")
    imported(name, archive, tmp_path / "out")
    check_files(tmp_path / "out", drawn)


def test_the_command_and_the_page_know_every_set() -> None:
    assert get_args(Name) == tuple(SETS)
    page = (REPO / "docs" / "datasets.md").read_text()
    for name, public in SETS.items():
        assert f"flowseg data import {name} " in page and public.site in page, name


def test_drive_can_be_trained_on_as_it_was_downloaded(tmp_path: Path) -> None:
    drive(tmp_path / "raw")
    imported("drive", tmp_path / "raw", tmp_path / "out")
    for split, count in (("train", 9), ("val", 1), ("test", 3)):
        data = Dataset(tmp_path / "out", split, DataConfig(crop=16))
        data.load()
        assert len(data) == count
        for i in range(count):
            mask = mask_of(int(data[i].key.split("/")[1][:2]))
            fov = data[i].fov
            assert fov is not None and not fov.all()
            np.testing.assert_array_equal(data[i].mask, mask & fov)


def test_the_two_archives_of_drive_are_one_set(tmp_path: Path) -> None:
    drawn = drive(tmp_path / "raw")
    shutil.copytree(tmp_path / "raw", tmp_path / "copy")
    for part in ("training", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / "raw" / part).rename(tmp_path / part / part)
        pack(tmp_path / "raw" / f"{part}.zip", tmp_path / part)
    imported("drive", tmp_path / "raw", tmp_path / "out")
    check_files(
        tmp_path / "out",
        [replace(case, image=tmp_path / "copy" / case.image.relative_to(tmp_path / "raw")) for case in drawn],
    )


def test_drive_without_test_labels_leaves_its_test_images_out_and_says_so(tmp_path: Path) -> None:
    drive(tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "test" / "1st_manual")
    split = imported("drive", tmp_path / "raw", tmp_path / "out")
    assert {part: len(split[part]) for part in SPLITS} == {"train": 7, "val": 1, "test": 2}
    assert all(stem.endswith("_training") for part in SPLITS for stem in split[part])
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["notes"] == ["the 3 images of test have no labels in this download and are left out"]
    assert "test drawn" in about["split"] and "as published" not in about["split"]


def test_hrf_without_masks_of_the_field_of_view(tmp_path: Path) -> None:
    hrf(tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "mask")
    imported("hrf", tmp_path / "raw", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("fov"))
    assert "no masks of the field of view" in (tmp_path / "out" / "dataset.json").read_text()


def test_one_mask_of_the_field_of_view_may_not_lack(tmp_path: Path) -> None:
    hrf(tmp_path / "raw")
    (tmp_path / "raw" / "mask" / "02_g_mask.tif").unlink()
    message = refusal(lambda: imported("hrf", tmp_path / "raw", tmp_path / "out"))
    assert "02_g.jpg: no mask of the field of view was found for it" in message


def test_an_empty_mask_of_the_field_of_view_is_refused(tmp_path: Path) -> None:
    hrf(tmp_path / "raw")
    put(tmp_path / "raw" / "mask" / "02_g_mask.tif", np.zeros((20, 24), bool))
    message = refusal(lambda: imported("hrf", tmp_path / "raw", tmp_path / "out"))
    assert "02_g_mask.tif: a mask of the field of view that is empty" in message


def test_two_images_that_would_be_one_file_are_refused(tmp_path: Path) -> None:
    rossa(tmp_path / "raw")
    for kind in ("image", "label"):
        folder = tmp_path / "raw" / "dataset" / "ROSSA" / "train_sam" / kind
        (folder / "301.png").rename(folder / "1.png")
    message = refusal(lambda: imported("rossa", tmp_path / "raw", tmp_path / "out"))
    assert "would be written to the same file as" in message and "train_manual/image/1.png" in message


def test_the_tar_archives_of_stare(tmp_path: Path) -> None:
    drawn = stare(tmp_path / "raw")
    for folder in ("stare-images", "labels-ah"):
        with tarfile.open(tmp_path / "raw" / f"{folder}.tar", "w") as archive:
            for path in (tmp_path / "raw" / folder).iterdir():
                archive.add(path, path.name)
        shutil.rmtree(tmp_path / "raw" / folder)
    imported("stare", tmp_path / "raw", tmp_path / "out")
    check_files(tmp_path / "out", drawn)


@pytest.mark.parametrize(("name", "length"), [("chase-db1", 8), ("xcad", 5)])
def test_a_patient_is_in_one_split(name: str, length: int, tmp_path: Path) -> None:
    """Patients are told by the first letters of a name."""
    DOWNLOADS[name](tmp_path / "raw")
    seen = set()
    for seed in range(3):
        split = imported(name, tmp_path / "raw", tmp_path / f"out{seed}", replace(DRAW, seed=seed))
        patients = [{stem[:length] for stem in split[part]} for part in SPLITS]
        assert sum(map(len, patients)) == len(set.union(*patients))
        seen.add(frozenset(split["test"]))
    assert len(seen) > 1


def test_arcade_by_classes(tmp_path: Path) -> None:
    arcade(tmp_path / "raw")
    imported("arcade", tmp_path / "raw", tmp_path / "one", classes=["9a"])
    mask = np.zeros((20, 24), bool)
    mask[1:4, 8:13] = True
    np.testing.assert_array_equal(pixels(tmp_path / "one" / "val" / "label" / "1.png"), label_of(mask))
    imported("arcade", tmp_path / "raw", tmp_path / "two", classes=["9a", "stenosis"])
    mask[1:11, 3:5] = True
    np.testing.assert_array_equal(pixels(tmp_path / "two" / "val" / "label" / "1.png"), label_of(mask))
    message = refusal(lambda: imported("arcade", tmp_path / "raw", tmp_path / "out", classes=["17"]))
    assert "--classes 17" in message and "choose among 1, 9a, stenosis" in message


def test_octa_500_by_classes(tmp_path: Path) -> None:
    octa500_3mm(tmp_path / "raw")
    imported("octa500-3mm", tmp_path / "raw", tmp_path / "out", classes=["LargeVessel", "Capillary"])
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["classes"] == ["LargeVessel", "Capillary"]
    union = mask_of(10301) | mask_of(10302)
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "train" / "label" / "10301.png"), label_of(union))
    message = refusal(lambda: imported("octa500-3mm", tmp_path / "raw", tmp_path / "no", classes=["FAZ"]))
    assert "--classes FAZ: no such class; choose among LargeVessel" in message
    message = refusal(lambda: imported("drive", tmp_path / "raw", tmp_path / "no", classes=["1"]))
    assert "only one class" in message


def change_coco(root: Path, change: object) -> str:
    """The one line with which ARCADE is refused after a change to its training annotations."""
    arcade(root / "raw")
    file = root / "raw" / "arcade" / "syntax" / "train" / "annotations" / "train.json"
    coco = json.loads(file.read_text())
    coco = change(coco) or coco  # type: ignore[operator]
    file.write_text(json.dumps(coco))
    message = refusal(lambda: imported("arcade", root / "raw", root / "out"))
    assert not (root / "out").exists()
    return message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["annotations"][4].update(segmentation=[[2, 2, 30, 2, 30, 9]]), "annotation 4: a polygon leaves"),
        (lambda c: c["annotations"][0].update(segmentation=[[-5, 2, 3, 2, 3, 9]]), "leaves its image of 24x20 by 5"),
        (lambda c: c["annotations"][1].update(segmentation={"counts": [1, 2], "size": [20, 24]}), "has no polygons"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3]]), "not a list of x, y"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, float("inf"), 3, 4]]), "not a list of x, y"),
        (lambda c: c["annotations"][1].update(segmentation=[[10**400, 2, 3, 4]]), "not a COCO file"),
        (lambda c: c["annotations"][1].update(image_id=7), "not a COCO file"),
        (lambda c: c["images"].append(c["images"][0]), "lists an image twice"),
        (lambda c: c["images"][2].update(file_name="../../3.png"), "lists the image ../../3.png, which is not there"),
        (lambda c: [1, 2], "not a COCO file"),
        (lambda c: {**c, "annotations": c["annotations"][3:]}, "1.png: no annotation was found"),
    ],
)
def test_annotations_that_do_not_fit_are_refused(tmp_path: Path, change: object, said: str) -> None:
    assert said in change_coco(tmp_path, change)


def test_a_label_of_several_values_needs_to_be_told_which(tmp_path: Path) -> None:
    drawn = xcad(tmp_path / "raw")
    label = tmp_path / "raw" / "XCAD" / "test" / "masks" / drawn[0].image.name
    grey = label_of(drawn[0].mask)
    grey[grey == 0] = 3
    put(label, np.where(np.arange(24) < 12, grey, np.minimum(grey, 200)).astype(np.uint8))
    message = refusal(lambda: imported("xcad", tmp_path / "raw", tmp_path / "out"))
    assert f"{label}: a label holds the value 0 and one other, but this one has 3 values (3, 200, 255)" in message
    assert "--label-values" in message and not (tmp_path / "out").exists()
    told = replace(DRAW, vessel=Values.parse(("128-255",)))
    imported("xcad", tmp_path / "raw", tmp_path / "out", told)
    check_files(tmp_path / "out", drawn)
    nothing = replace(DRAW, vessel=Values.parse(("77",)))
    assert "no label of the set has any vessel" in refusal(
        lambda: imported("xcad", tmp_path / "raw", tmp_path / "none", nothing)
    )


def test_labels_that_have_none_of_the_named_values_are_counted(tmp_path: Path) -> None:
    drawn = xcad(tmp_path / "raw")
    folder = tmp_path / "raw" / "XCAD" / "test" / "masks"
    put(folder / drawn[0].image.name, np.where(drawn[0].mask, np.uint8(100), np.uint8(0)))
    put(folder / drawn[1].image.name, np.zeros((20, 24), np.uint8))
    built = import_set("xcad", tmp_path / "raw", tmp_path / "out", replace(DRAW, vessel=Values.parse(("128-255",))))
    note = f"labels that are not black, but have none of the values of --label-values (1): {drawn[0].image.name}"
    assert built.notes == [note] == json.loads((tmp_path / "out" / "dataset.json").read_text())["notes"]


def test_polygons_have_no_label_values(tmp_path: Path) -> None:
    arcade(tmp_path / "raw")
    named = replace(DRAW, vessel=Values.parse(("255",)))
    message = refusal(lambda: imported("arcade", tmp_path / "raw", tmp_path / "out", named))
    assert (
        message.startswith("--label-values: the labels of this set are polygons") and not (tmp_path / "out").exists()
    )


def test_images_with_an_orientation_are_told(tmp_path: Path) -> None:
    drawn, exif = chase_db1(tmp_path / "raw"), Image.Exif()
    exif[0x0112] = 3
    Image.open(drawn[2].image).save(drawn[2].image, exif=exif)
    built = import_set("chase-db1", tmp_path / "raw", tmp_path / "out", DRAW)
    assert built.notes == [
        "images with an EXIF orientation, which is not applied: check their labels (1): Image_02L.jpg"
    ]
    check_files(tmp_path / "out", drawn)


@pytest.mark.parametrize("word", ["", "x", "3-", "9-3", "-1", "1,2"])
def test_label_values_are_numbers_or_ranges(word: str) -> None:
    assert "expected numbers or ranges" in refusal(lambda: Values.parse((word,)))


def test_files_that_do_not_pair_are_refused(tmp_path: Path) -> None:
    def refused(change: object, *more: Path) -> str:
        raw = tmp_path / "raw"
        shutil.rmtree(raw, ignore_errors=True)
        chase_db1(raw)
        change(raw)  # type: ignore[operator]
        message = refusal(lambda: imported("chase-db1", raw, tmp_path / "out"))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
        return message

    assert "Image_02L.jpg: no label was found" in refused(lambda raw: (raw / "Image_02L_1stHO.png").unlink())
    assert "Image_02L_1stHO.png: no image was found" in refused(lambda raw: (raw / "Image_02L.jpg").unlink())
    assert "stands for the same image" in refused(lambda raw: put(raw / "again" / "Image_02L.jpg", mask_of(1)))
    assert "is 12x12 but its image is 24x20" in refused(
        lambda raw: put(raw / "Image_02L_1stHO.png", np.ones((12, 12), bool))
    )
    assert "has no images named as in CHASE_DB1" in refused(lambda raw: shutil.rmtree(raw) or raw.mkdir())
    assert "cannot be read as an image" in refused(
        lambda raw: (raw / "Image_05R.jpg").write_bytes((raw / "Image_05R.jpg").read_bytes()[:300])
    )


def test_a_folder_that_exists_is_never_touched(tmp_path: Path) -> None:
    drive(tmp_path / "raw")
    out = tmp_path / "out"
    out.mkdir()
    assert f"{out}: exists already" in refusal(lambda: imported("drive", tmp_path / "raw", out))
    assert list(out.iterdir()) == []


def test_folders_above_the_data_set_are_made(tmp_path: Path) -> None:
    drive(tmp_path / "raw")
    assert imported("drive", tmp_path / "raw", tmp_path / "data" / "sets" / "drive")["train"]
    (tmp_path / "file").touch()
    message = refusal(lambda: imported("drive", tmp_path / "raw", tmp_path / "file" / "drive"))
    assert f"{tmp_path}/file/drive: cannot be written (File exists)" in message


def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    drive(tmp_path / "raw")
    left = [5]

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            assert list(tmp_path.rglob("image/*.png"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imported("drive", tmp_path / "raw", tmp_path / "out", replace(DRAW, check=check))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_shares_of_splits_that_a_set_has_are_refused(tmp_path: Path) -> None:
    drive(tmp_path / "raw")
    drawing = Drawing({"test": 0.3}, 0, None)
    message = refusal(lambda: imported("drive", tmp_path / "raw", tmp_path / "out", drawing))
    assert message == "--test 0.3: the set has its own test images; leave it out"
    assert len(imported("drive", tmp_path / "raw", tmp_path / "out", Drawing({"val": 0.4}, 0, None))["val"]) == 4
    assert stems(tmp_path / "out")["test"] == {"01_test", "02_test", "03_test"}
