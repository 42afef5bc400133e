"""What `flowseg predict` refuses, and what an interrupted or repeated prediction leaves in its folder."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Flowseg, first, write
from dicom_files import empty, write_dicom
from PIL import Image

from flowseg.evaluation import prediction
from flowseg.evaluation.finished import HOW

PICTURES = ("mask", "overlay", "probability")


def test_bad_images_are_refused_before_anything_is_written(
    refused: Callable[..., str], bare: Path, data: Path, tmp_path: Path
) -> None:
    good, frames = first(data, "image"), np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    series = write_dicom(tmp_path / "series.dcm", frames)
    report = tmp_path / "report.dcm"
    empty(report).save_as(report)
    colour = write_dicom(tmp_path / "colour.dcm", frames, PhotometricInterpretation="RGB", SamplesPerPixel=3)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    (tmp_path / "empty").mkdir()
    huge = tmp_path / "huge.tif"
    write(huge, np.resize(np.float32([-3e38, 3e38]), (8, 8)))
    for bad, options, reason in (
        (report, (), f"{report}: is a DICOM file without pixels"),
        (colour, (), f"{colour}: is not grey"),
        (text, (), f"{text}: cannot be read as an image"),
        (huge, (), f"{huge}: its values, from -3e+38 to 3e+38, cannot be scaled"),
        (tmp_path / "gone.dcm", (), "gone.dcm: no such file"),
        (tmp_path / "empty", (), "empty: holds no images"),
        (series, ("--frames", "1,3"), f"{series}: has no frame 3, it has frames 1 to 2"),
        (series, ("--frames", "3-"), "--frames 3-: give numbers and ranges"),
        (good, (), "different --out folders"),
        (good.parent, (), "different --out folders"),
        (series, ("--ensemble", "0"), "eval.ensemble = 0: must be at least 1"),
        (series, ("--threshold", "best"), "threshold"),
        (series, ("--min-component", "-1"), "eval.min_component = -1: must be auto, or at least 0"),
        (series, ("--min-component", "some"), "min-component"),
    ):
        images = (bad,) if options else (good, bad)
        assert reason in refused("predict", bare, *images, "--out", tmp_path / "out", *options)


def test_images_are_not_overwritten(refused: Callable[..., str], bare: Path, data: Path, tmp_path: Path) -> None:
    good = first(data, "image")
    assert f"{good.parent}: is the folder of the images" in refused("predict", bare, good.parent, "--out", good.parent)
    mask = good.with_name(f"{good.stem}_mask.png")
    shutil.copy(first(data, "label"), mask)
    message = refused("predict", bare, good, mask, "--out", good.parent)
    assert f"{mask}: is one of the images and would be overwritten" in message


def test_a_full_disk_is_one_line_and_what_is_finished_stays(
    flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = sorted((tiny_data / "test" / "image").iterdir())[:2], tmp_path / "out"
    save, free = Image.Image.save, iter(range(4))

    def save_while_there_is_space(picture: Image.Image, file: Path, **more: object) -> None:
        if next(free, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(picture, file, **more)

    monkeypatch.setattr(Image.Image, "save", save_while_there_is_space)
    outcome = flowseg("predict", run, *images, "--out", out)
    second = images[1].stem
    assert outcome.status == 1
    assert outcome.err == f"flowseg: {out}/{second}_probability.png: No space left on device; free some space\n"
    assert sorted(p.name for p in out.iterdir()) == [
        *(f"{images[0].stem}_{k}.png" for k in PICTURES),
        f"{second}_mask.png",
        "prediction.jsonl",
    ]
    # With room again, the same command makes what is missing only.
    monkeypatch.setattr(Image.Image, "save", save)
    ended = {file: file.stat().st_mtime_ns for file in out.glob(f"{images[0].stem}_*")}
    outcome = flowseg("predict", run, *images, "--out", out, "--resume")
    assert outcome.status == 0 and "masks, probabilities and overlays of 2 images (1 made before)" in outcome.out, (
        outcome.err
    )
    assert {file: file.stat().st_mtime_ns for file in ended} == ended and len(list(out.iterdir())) == 7
    whole = tmp_path / "whole"
    assert flowseg("predict", run, *images, "--out", whole).status == 0
    assert {f.name: f.read_bytes() for f in out.iterdir()} == {f.name: f.read_bytes() for f in whole.iterdir()}


def test_resume_keeps_only_what_was_made_alike(flowseg: Flowseg, run: Path, data: Path, tmp_path: Path) -> None:
    """The same parameters, settings and pixels; what else lies there is refused and stays as it is."""
    (image, other, *_), out = sorted((data / "test" / "image").iterdir()), tmp_path / "out"
    command = ("predict", run, image, "--out", out, "--resume")
    assert flowseg(*command).status == 0
    made = {file: file.read_bytes() for file in out.iterdir()}
    again = flowseg(*command)
    assert again.status == 0 and "(1 made before)" in again.out
    assert {file: file.read_bytes() for file in out.iterdir()} == made
    for changed, told in (
        (("--ensemble", 2), f"{out}/prediction.json: its images were made otherwise (eval differs)"),
        (("--threshold", "tuned"), f"{out}/prediction.json: its images were made otherwise (eval differs)"),
    ):
        outcome = flowseg(*command, *changed)
        assert outcome.status == 1 and told in outcome.err and "leave --resume out" in outcome.err
    pixels = np.array(Image.open(image))
    pixels[0, 0] ^= 1
    write(image, pixels)
    outcome = flowseg(*command)
    assert outcome.status == 1 and f"its {image.stem} was made of other pixels" in outcome.err
    assert {file: file.read_bytes() for file in out.iterdir()} == made
    # A file that is missing is made again; so is one that a torn record does not name.
    shutil.copy(other, image)
    assert flowseg("predict", run, image, other, "--out", out).status == 0
    rows = json.loads((out / "prediction.json").read_text())
    how = {name: rows[name] for name in HOW}
    torn = "".join(json.dumps(line) + "\n" for line in (how, rows["images"][0])) + json.dumps(rows["images"][1])[:40]
    (out / "prediction.jsonl").write_text(torn)
    (out / "prediction.json").unlink()
    outcome = flowseg("predict", run, image, other, "--out", out, "--resume")
    assert outcome.status == 0 and "masks, probabilities and overlays of 2 images (1 made before)" in outcome.out
    assert json.loads((out / "prediction.json").read_text()) == rows and not (out / "prediction.jsonl").exists()
    (out / f"{image.stem}_mask.png").unlink()
    assert "(1 made before)" in flowseg("predict", run, image, other, "--out", out, "--resume").out
    (out / "prediction.json").unlink()
    outcome = flowseg(*command)
    assert outcome.status == 1 and "_mask.png: nothing in its folder says how it was made" in outcome.err
    (out / "prediction.json").write_text("[]")
    assert "prediction.json: does not say how its images were made" in flowseg(*command).err


def test_outputs_of_another_call_are_not_taken_for_those_of_an_earlier_one(
    flowseg: Flowseg, run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call with other settings ends after it has written the first of an image's files."""
    image, out = first(data, "image", "test"), tmp_path / "out"
    assert flowseg("predict", run, image, "--out", out).status == 0
    before = (out / f"{image.stem}_mask.png").read_bytes()

    def half_written(files: dict[str, Path], *args: object) -> None:
        write(files["mask"], np.zeros((64, 64), np.uint8))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(prediction, "_write", half_written)
        assert flowseg("predict", run, image, "--out", out, "--ensemble", 2).status == 1
    assert (out / f"{image.stem}_mask.png").read_bytes() != before
    outcome = flowseg("predict", run, image, "--out", out, "--resume")
    assert outcome.status == 1 and "its images were made otherwise (eval differs)" in outcome.err
    again = flowseg("predict", run, image, "--out", out, "--resume", "--ensemble", 2)
    assert again.status == 0 and "made before" not in again.out


def test_a_name_too_long_for_its_outputs_is_refused(
    refused: Callable[..., str], run: Path, data: Path, tmp_path: Path
) -> None:
    image = first(data, "image").rename(tmp_path / f"{'n' * 245}.png")
    message = refused("predict", run, image, "--out", tmp_path / "out")
    assert "its name is too long for those of its outputs; shorten it" in message


def test_out_below_a_file(refused: Callable[..., str], run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    message = refused("predict", run, first(data, "image"), "--out", tmp_path / "file" / "out")
    assert f"{tmp_path}/file/out: cannot be made" in message
