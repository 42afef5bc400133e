"""Scores inside a field of view: what lies outside counts neither for nor against, in any metric."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mask_pairs import random_pairs, vessels
from PIL import Image

from flowseg.config import Config, DataConfig
from flowseg.data.dataset import Dataset, load_splits
from flowseg.evaluation import frangi
from flowseg.evaluation.evaluate import evaluate_segmentations
from flowseg.evaluation.mask_difference import mask_difference
from flowseg.evaluation.metrics import image_metrics, mask_metrics
from flowseg.evaluation.topology import Shape
from flowseg.evaluation.uncertainty import uncertainty_auroc
from flowseg.progress import console
from flowseg.runs.trained import Trained
from flowseg.sampling.segment import Segmentation

RNG = np.random.default_rng(0)


def probability_of(prediction: np.ndarray) -> np.ndarray:
    return np.clip(0.3 + 0.4 * prediction + RNG.normal(0, 0.1, prediction.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("pair", random_pairs(40), ids=lambda pair: "x".join(map(str, pair[0].shape)))
def test_a_rectangular_field_of_view_scores_as_the_image_cut_to_it(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """Every metric of the table: those of single pixels, and those that need the pixels in place."""
    prediction, truth = pair
    h, w = truth.shape
    top, left = int(RNG.integers(0, (h + 1) // 2)), int(RNG.integers(0, (w + 1) // 2))
    part = np.s_[top : top + max(1, h // 2), left : left + max(1, w // 2)]
    fov = np.zeros(truth.shape, bool)
    fov[part] = True
    probability = probability_of(prediction)
    found = image_metrics(probability, truth, 0.45, fov)
    expected = image_metrics(np.ascontiguousarray(probability[part]), np.ascontiguousarray(truth[part]), 0.45)
    assert found == pytest.approx(expected, abs=1e-12)
    whole = np.ones_like(fov)
    assert image_metrics(probability, truth, 0.45, whole) == image_metrics(probability, truth, 0.45)


def test_what_lies_outside_changes_no_metric() -> None:
    prediction, truth = vessels(np.random.default_rng(1))
    fov = np.hypot(*(np.mgrid[:64, :64] - 30)) < 25
    probability, junk = probability_of(prediction), RNG.random(truth.shape).astype(np.float32)
    expected = image_metrics(probability, truth, 0.5, fov)
    assert image_metrics(np.where(fov, probability, junk), np.where(fov, truth, junk > 0.5), 0.5, fov) == expected
    # Nor as background that is easy to get right.
    whole = image_metrics(np.where(fov, probability, 0), truth & fov)
    for name, easier in (("specificity", 1), ("auc", 1), ("ece", -1), ("brier", -1)):
        assert easier * whole[name] > easier * expected[name]  # type: ignore[operator]
    inside = np.count_nonzero(fov)
    assert expected["density_error"] == pytest.approx(
        abs(np.count_nonzero((probability > 0.5) & fov) - np.count_nonzero(truth & fov)) / inside
    )


def test_a_field_of_view_that_does_not_fit_is_a_mistake() -> None:
    prediction, truth = vessels(np.random.default_rng(1))
    for fov, told in (
        (truth[:-1], "shapes differ"),
        (truth * 255, "must be a bool mask"),
        (truth & False, "no pixel is inside"),
    ):
        for call in (
            lambda fov=fov: mask_metrics(prediction, truth, fov),
            lambda fov=fov: image_metrics(truth.astype(np.float32), truth, 0.5, fov),
        ):
            with pytest.raises(ValueError, match=told):
                call()


def test_masks_differ_inside_only() -> None:
    first, second = vessels(np.random.default_rng(1))
    fov = np.zeros_like(first)
    fov[10:50, 20:64] = True
    found = mask_difference(first, second, Shape(second & fov), fov)
    assert found.pixels == 40 * 44 and found.differing == np.count_nonzero((first != second) & fov)
    assert found.band <= np.count_nonzero(fov)


def ring(height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark ring in a round, bright field with a black surround: image, label, field of view."""
    y, x = np.mgrid[:height, :56]
    radius = np.hypot(y - 24, x - 27)
    mask, fov = np.abs(radius - 11) < 2, radius < 20
    image = np.where(fov, 200 - 60 * mask + (x * y) % 5, 0)
    return image.astype(np.uint8), mask, fov


def test_the_reference_is_tuned_and_scored_inside() -> None:
    image, mask, fov = ring(48)
    plain, inside = (frangi.tune([image], [mask], fovs) for fovs in (None, [fov]))
    response = frangi.vesselness(image, inside.scale, inside.dark_vessels, fov)
    assert (response[fov] == 1).mean() == pytest.approx(0.03, abs=0.005)  # above the 97th percentile
    assert not response[~fov].any()
    assert not frangi.segment(image, inside, fov)[~fov].any()
    dices = [mask_metrics(frangi.segment(image, settings, fov), mask, fov)["dice"] for settings in (plain, inside)]
    assert dices[1] is not None and dices[0] is not None and dices[1] >= dices[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Rings; the label of each test image also has vessels outside its field of view."""
    root = tmp_path_factory.mktemp("rings")
    for split, count in (("val", 1), ("test", 2)):
        for i in range(count):
            image, mask, fov = ring(48 + 4 * i)
            mask[-3:] |= split == "test"
            for folder, array in (("image", image), ("label", mask * 255), ("fov", fov * 255)):
                path = root / split / folder / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(path)
    return load_splits(root, DataConfig(crop=16, max_side=48), ("val", "test"))


def samples(shape: tuple[int, int], count: int) -> np.ndarray:
    """Probabilities that are high in every second column, also outside."""
    columns = np.broadcast_to(0.2 + 0.7 * (np.arange(shape[1]) % 2), shape)
    return np.stack([columns * (1 - 0.1 * k) for k in range(count)]).astype(np.float32)


def test_an_evaluation_is_inside_and_says_so(data: dict[str, Dataset], tmp_path: Path) -> None:
    found = [Segmentation(samples(example.size, 2)) for example in data["test"]]
    with console.capture() as told:
        result = evaluate_segmentations(found, data, "test", tmp_path / "eval", {}, "name")
    said = " ".join(told.get().split())
    assert "mean over 2 images, inside the field of view [bootstrap" in said and "masks: probability above 0.5" in said
    written = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert result["field_of_view"] is written["field_of_view"] is True
    rows = []
    for i, segmentation in enumerate(found):
        _, mask, fov = ring(48 + 4 * i)
        p, uncertainty = segmentation.probability, segmentation.uncertainty
        row = image_metrics(p, mask, 0.5, fov)
        parts = ((p > 0.5)[fov][None], mask[fov][None], uncertainty[fov][None])  # type: ignore[index]
        rows.append({**row, "uncertainty_auroc": uncertainty_auroc(*parts)})
        shown = {
            name: np.asarray(Image.open(tmp_path / "eval" / "images" / str(i) / f"{name}.png"))
            for name in ("truth", "fov", "prediction", "probability", "uncertainty")
        }
        np.testing.assert_array_equal(shown.pop("fov") > 0, fov)
        np.testing.assert_array_equal(shown["truth"] > 0, mask & fov)
        assert all(not picture[~fov].any() and picture[fov].any() for picture in shown.values())
    for name in rows[0]:
        assert written["model"][name]["mean"] == pytest.approx(np.mean([row[name] for row in rows])), name


def test_a_threshold_is_tuned_inside(data: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data["val"]
    monkeypatch.setattr("flowseg.runs.trained.prepare_for", lambda *_: SimpleNamespace(datasets=data))
    found = [Segmentation(samples(example.size, 1)) for example in dataset]
    monkeypatch.setattr("flowseg.runs.trained.segment", lambda *_: iter(found))
    run = SimpleNamespace(config=Config(), exported=None)
    trained = Trained(run, Config(), {}, 0, None, None, None)  # type: ignore[arg-type]
    _, mask, fov = ring(48)
    ((probability, truth),) = trained._predict_validation(Config().eval)
    np.testing.assert_array_equal(probability, np.where(fov, found[0].probability, 0))
    np.testing.assert_array_equal(truth, mask & fov)
