"""`flowseg predict`: the files it writes, and the inputs it reads."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from commands import SETTINGS, Flowseg, first, trained_run, write
from dicom_files import write_dicom
from PIL import Image
from refusals import refusal

from flowseg import api, load
from flowseg.commands.trained import parse_frames
from flowseg.config import Config
from flowseg.data.dataset import NetworkInput
from flowseg.data.image_files import read_image
from flowseg.data.inputs import read_inputs
from flowseg.embeddings.source import IMAGE_STATS, describe_images
from flowseg.embeddings.store import write_store
from flowseg.evaluation import prediction
from flowseg.evaluation.overlays import PREDICTED
from flowseg.runs.checkpoints import description_digest
from flowseg.runs.folder import open_run
from flowseg.runs.prepare import with_sources
from flowseg.sampling.mask import without_small_components
from flowseg.sampling.segment import Segmentation

PICTURES = ("mask", "overlay", "probability")


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_pictures_have_their_images_size(flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path) -> None:
    image, out = first(tiny_data, "image", "test"), tmp_path / "out"
    tall, exif = tmp_path / "tall.jpg", Image.Exif()
    exif[0x0112] = 6  # to be displayed rotated by 90 degrees
    Image.open(image).crop((0, 0, 40, 64)).save(tall, exif=exif)
    outcome = flowseg("predict", run, image, tall, "--out", out)
    assert outcome.status == 0, outcome.err
    assert "EXIF orientation is not applied; outputs lie as the pixels are stored: tall.jpg" in outcome.out
    written = sorted(p.name for p in out.iterdir())
    assert written == sorted([*(f"{s}_{k}.png" for s in (image.stem, "tall") for k in PICTURES), "prediction.json"])
    for path in (image, tall):
        mask, probability, overlay = (grey(out / f"{path.stem}_{k}.png") for k in ("mask", "probability", "overlay"))
        assert mask.shape == probability.shape == overlay.shape[:2] == grey(path).shape
        assert set(np.unique(mask)) == {0, 255}
        assert ((probability > 128) <= (mask > 0)).all() and ((probability < 127) <= (mask == 0)).all()
        seen = read_image(path)[0]
        np.testing.assert_allclose(overlay[mask == 0][:, 0], (seen[mask == 0] + 1) * 127.5, atol=0.51)
        assert np.abs(overlay[mask > 0].astype(int) - PREDICTED).max() <= 40
    said = json.loads((out / "prediction.json").read_text())
    assert (said["run"], said["step"], said["threshold"]) == (str(run), 0, 0.5)
    assert [(row["name"], row["file"]) for row in said["images"]] == [(image.stem, str(image)), ("tall", str(tall))]
    assert said["eval"] == asdict(SETTINGS)
    assert all(0 < row["expected_error"] < 1 and row["frame"] is None for row in said["images"])


def test_a_prediction_that_is_not_finite_is_refused(
    flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, out = first(tiny_data, "image", "test"), tmp_path / "out"
    broken = Segmentation(np.full((1, 64, 64), np.nan, np.float32))
    monkeypatch.setattr(prediction, "segment", lambda *_: iter([broken]))
    outcome = flowseg("predict", run, image, "--out", out)
    assert outcome.status == 1 and f"{image.stem}: the network's prediction is not finite" in outcome.err
    assert not list(out.iterdir())


def test_an_ensemble_says_where_and_how_far_it_is_unsure(
    flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    image, out = first(tiny_data, "image", "test"), tmp_path / "out"
    outcome = flowseg("predict", run, image, "--out", out, "--ensemble", 3, "--tta")
    assert outcome.status == 0 and "mask, probability, uncertainty and overlay of 1 image: " in outcome.out
    p = grey(out / f"{image.stem}_probability.png") / 255
    uncertainty = grey(out / f"{image.stem}_uncertainty.png") / 255
    entropy = -(p * np.log2(np.maximum(p, 1e-9)) + (1 - p) * np.log2(np.maximum(1 - p, 1e-9)))
    sure = (p < 0.05) | (p > 0.95)  # rounding p to 8 bits changes the entropy much there
    np.testing.assert_allclose(uncertainty[~sure], entropy[~sure], atol=0.02)
    said = json.loads((out / "prediction.json").read_text())
    assert 0 < said["images"][0]["expected_error"] < 1
    assert (said["eval"]["ensemble"], said["eval"]["tta"]) == (3, True)


def test_the_run_s_config_is_the_default(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    run, out = trained_run(tmp_path / "own", tiny_data, ensemble=3, tta=True), tmp_path / "out"
    for options, expected in ((), (3, True)), (("--ensemble", 1, "--no-tta"), (1, False)):
        assert flowseg("predict", run, first(tiny_data, "image"), "--out", out, *options).status == 0
        said = json.loads((out / "prediction.json").read_text())["eval"]
        assert (said["ensemble"], said["tta"], said["steps"]) == (*expected, 1)


def test_views_that_a_run_was_not_trained_on_are_told(
    flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    upright, image = trained_run(tmp_path / "upright", tiny_data, flip=0.0), first(tiny_data, "image")
    for path, option, told in ((run, "--tta", False), (upright, "--tta", True), (upright, "--no-tta", False)):
        outcome = flowseg("predict", path, image, "--out", tmp_path / "out", option)
        assert outcome.status == 0 and ("NOTE: tta averages over flips" in outcome.out) == told


def test_frames_of_a_series_are_images_of_their_own(flowseg: Flowseg, run: Path, tmp_path: Path) -> None:
    """A frame and a PNG file of its pixels give the same result: same noise, embedding and scaling."""
    rng = np.random.default_rng(3)
    frames = np.kron(rng.integers(0, 2**12, (5, 5, 8)), np.ones((1, 8, 8))).astype(np.uint16)
    series, alone, out = write_dicom(tmp_path / "series.dcm", frames, 12), tmp_path / "alone.png", tmp_path / "out"
    write(alone, frames[3])
    outcome = flowseg("predict", run, series, alone, "--out", out)
    assert outcome.status == 0, outcome.err
    names = [f"series_frame{k:03d}" for k in (1, 2, 3, 4, 5)]
    assert sorted(p.name for p in out.glob("series*")) == sorted(f"{n}_{k}.png" for n in names for k in PICTURES)
    for kind in PICTURES:
        np.testing.assert_array_equal(grey(out / f"series_frame004_{kind}.png"), grey(out / f"alone_{kind}.png"))
    assert not np.array_equal(grey(out / "series_frame005_mask.png"), grey(out / "series_frame004_mask.png"))


def config_of(run: Path, store: str | None) -> Config:
    return with_sources(open_run(run).config, None, store)


def test_frames_have_embeddings_of_their_own(run: Path, tmp_path: Path) -> None:
    """They are computed, or found in a store made from PNG files with the same values."""
    frames = np.random.default_rng(3).integers(0, 2**12, (3, 40, 64)).astype(np.uint16)
    series = write_dicom(tmp_path / "series.dcm", frames, 12)
    pictures = [tmp_path / f"{k}.png" for k in range(3)]
    for path, frame in zip(pictures, frames, strict=True):
        write(path, frame)
    hashes, vectors = describe_images(pictures)
    assert len(np.unique(vectors, axis=0)) == 3
    stores = [tmp_path / "all.safetensors", tmp_path / "two.safetensors"]
    for store, held in zip(stores, (3, 2), strict=True):
        write_store(store, IMAGE_STATS, [str(k) for k in range(held)], hashes[:held], vectors[:held])
    items = read_inputs([series])
    for given in (None, str(stores[0])):
        found = prediction.network_inputs(open_run(run), config_of(run, given), [series], items)
        np.testing.assert_array_equal([one.embedding for one in found], vectors)
        assert [one.content for one in found] == hashes
    message = refusal(
        lambda: prediction.network_inputs(open_run(run), config_of(run, str(stores[1])), [series], items)
    )
    assert "1 of 3 images are not in it (series_frame003)" in message and "reads no DICOM" in message


def test_the_network_sees_the_channel_that_it_was_trained_on(
    flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `flowseg predict` and in Python; its embedding is that of the luminance."""
    content = json.loads((run / "config.json").read_text())
    content["config"]["data"]["channel"] = "green"
    for meta in (run / "checkpoints").rglob("meta/metadata"):
        kept = json.loads(meta.read_text())
        kept["config"]["data"]["channel"] = "green"
        meta.write_text(json.dumps({**kept, "digest": description_digest(kept)}))
    (run / "config.json").write_text(json.dumps(content))
    greys = [grey(path) for path in sorted((tiny_data / "test" / "image").iterdir())]
    rgb, file, alone = np.stack(greys, axis=2), tmp_path / "colour.png", tmp_path / "alone.png"
    write(file, rgb)
    write(alone, greys[1])
    seen: list[NetworkInput] = []

    def kept_inputs(sampler: object, params: object, images: Iterable[NetworkInput]) -> Iterator[Segmentation]:
        for image in images:
            seen.append(image)
            yield Segmentation(np.zeros((1, *image.size), np.float32))

    monkeypatch.setattr(prediction, "segment", kept_inputs)
    monkeypatch.setattr(api, "segment", kept_inputs)
    assert flowseg("predict", run, file, alone, "--out", tmp_path / "out").status == 0
    model = load(run)
    model.segment(rgb)
    (item,) = model.read(file)
    model.segment(item)
    np.testing.assert_array_equal(seen[0].image, seen[1].image)
    np.testing.assert_array_equal(seen[2].image, seen[0].image)
    np.testing.assert_array_equal(seen[0].embedding, describe_images([file])[1][0])
    np.testing.assert_array_equal(seen[2].embedding, seen[0].embedding)
    assert seen[0].content == seen[2].content != seen[1].content
    np.testing.assert_array_equal(seen[3].image, seen[0].image)
    np.testing.assert_array_equal(seen[3].embedding, seen[0].embedding)
    assert seen[3].content == seen[0].content
    (other,) = read_inputs([file])
    message = refusal(lambda: model.segment(other))
    assert f"{file}: was read for a model that sees the channel luminance, but this one sees green" in message


@pytest.fixture
def fovs(tiny_data: Path, tmp_path: Path) -> Path:
    """A folder with a round field of view for the first test image."""
    folder = tmp_path / "fovs"
    folder.mkdir()
    inside = np.hypot(*(np.mgrid[:64, :64] - 30)) < 25
    write(folder / f"{first(tiny_data, 'image', 'test').stem}.png", inside.astype(np.uint8) * 255)
    return folder


def test_nothing_is_predicted_outside_a_field_of_view(
    flowseg: Flowseg, run: Path, tiny_data: Path, fovs: Path, tmp_path: Path
) -> None:
    image, whole, out = first(tiny_data, "image", "test"), tmp_path / "whole", tmp_path / "out"
    assert flowseg("predict", run, image, "--out", whole).status == 0
    outcome = flowseg("predict", run, image, "--out", out, "--fov", fovs)
    assert outcome.status == 0, outcome.err
    inside = grey(fovs / image.name) > 0
    for kind in ("mask", "probability"):
        before, after = (grey(folder / f"{image.stem}_{kind}.png") for folder in (whole, out))
        np.testing.assert_array_equal(after, np.where(inside, before, 0))
        assert before[~inside].any() and after.any()
    overlay = grey(out / f"{image.stem}_overlay.png")
    assert (overlay[~inside] == overlay[~inside][:, :1]).all()  # grey
    said, before = (json.loads((folder / "prediction.json").read_text()) for folder in (out, whole))
    assert (said["fov"], before["fov"]) == (str(fovs), None)
    assert said["images"][0]["expected_error"] != before["images"][0]["expected_error"]


def test_frames_share_the_field_of_view_of_their_file(
    flowseg: Flowseg, run: Path, fovs: Path, tiny_data: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    series = write_dicom(tmp_path / "series.v2.dcm", rng.integers(0, 2**12, (2, 64, 64)).astype(np.uint16), 12)
    shutil.copy(next(fovs.iterdir()), fovs / "series.v2.png")
    outcome = flowseg("predict", run, series, "--out", tmp_path / "out", "--fov", fovs)
    assert outcome.status == 0, outcome.err
    inside = grey(fovs / "series.v2.png") > 0
    for frame in ("001", "002"):
        probability = grey(tmp_path / "out" / f"series.v2_frame{frame}_probability.png")
        assert probability[inside].any() and not probability[~inside].any()


def test_a_field_of_view_that_does_not_fit_is_refused(
    refused: Callable[..., str], bare: Path, tiny_data: Path, fovs: Path, tmp_path: Path
) -> None:
    image, other = sorted((tiny_data / "test" / "image").iterdir())[:2]
    write(fovs / f"{other.stem}.png", np.full((64, 48), 255, np.uint8))
    for images, folder, told in (
        ((image,), tmp_path / "gone", "gone: no such folder; give one that holds a mask for each image"),
        ((first(tiny_data, "image", "val"),), fovs, f".png: has no field of view {fovs}/"),
        ((image, other), fovs, f"{fovs / other.name}: is 48x64 but its image is 64x64"),
    ):
        assert told in refused("predict", bare, *images, "--out", tmp_path / "out", "--fov", folder)


@pytest.mark.parametrize(
    ("text", "frames"), [("all", None), ("3", [3]), ("3,7,10-14", [3, 7, 10, 11, 12, 13, 14]), ("2, 1-2", [1, 2])]
)
def test_frames_are_numbers_and_ranges(text: str, frames: list[int] | None) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["", "0", "3-", "5-3", "x", "1,,2", "-1", "1.5", "99999999"])
def test_other_frames_are_refused(text: str) -> None:
    assert f"--frames {text}: give numbers and ranges" in refusal(lambda: parse_frames(text))


def test_a_tuned_rule_is_made_once_and_used(flowseg: Flowseg, run: Path, tiny_data: Path, tmp_path: Path) -> None:
    """Its threshold and its minimum component size, whatever the file of the run says it is."""
    image, out, plain = first(tiny_data, "image", "test"), tmp_path / "out", tmp_path / "plain"
    tuned = ("predict", run, image, "--threshold", "tuned", "--out")
    outcome = flowseg(*tuned, plain)
    assert outcome.status == 0 and "tuned on val (2 images)" in outcome.out, outcome.err
    (kept,) = json.loads((run / "threshold.json").read_text())["tuned"]
    assert kept["dice"] > kept["dice_fixed"] and kept["threshold"] != 0.5 and kept["eval"]["ensemble"] == 1
    probability, mask = (grey(plain / f"{image.stem}_{kind}.png") for kind in ("probability", "mask"))
    beyond = np.abs(probability / 255 - kept["threshold"]) > 0.01
    np.testing.assert_array_equal(mask[beyond] > 0, probability[beyond] / 255 > kept["threshold"])
    # The network is not trained, and its own threshold leaves no small components. 255 / 2 lies between two greys.
    other = {**kept, "threshold": 0.5, "removal": {**kept["removal"], "min_component": 20}}
    (run / "threshold.json").write_text(json.dumps({"tuned": [other]}))
    again = flowseg(*tuned, out, "--min-component", "auto")
    assert again.status == 0 and "tuned on" not in again.out
    fewer = without_small_components(probability > 127, 20)
    np.testing.assert_array_equal(grey(out / f"{image.stem}_mask.png") > 0, fewer)
    assert 0 < np.count_nonzero(fewer) < np.count_nonzero(probability > 127)
    said = [json.loads((folder / "prediction.json").read_text()) for folder in (out, plain)]
    assert [(s["threshold"], s["min_component"]) for s in said] == [(other["threshold"], 20), (kept["threshold"], 0)]
    assert said[0]["images"][0]["expected_error"] != said[1]["images"][0]["expected_error"]


def test_tuning_needs_the_run_s_validation_images(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    run = trained_run(tmp_path / "own", tmp_path / "gone")
    for option in (("--threshold", "tuned"), ("--min-component", "auto")):
        message = refused("predict", run, first(data, "image"), "--out", tmp_path / "out", *option)
        assert f"{tmp_path}/gone: no such folder" in message
        assert "validation images; or use --threshold fixed and a number for --min-component" in message
