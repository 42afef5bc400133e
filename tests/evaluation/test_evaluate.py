"""The files and the table of an evaluation, with a sampler of known probabilities in place of the network."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flowseg.config import Config, DataConfig
from flowseg.data.dataset import Dataset, NetworkInput, load_splits
from flowseg.data.image_files import as_uint8, read_image, read_label
from flowseg.errors import UserError
from flowseg.evaluation import frangi, metric_table
from flowseg.evaluation.evaluate import evaluate, table
from flowseg.evaluation.metrics import Interval, image_metrics, mask_metrics
from flowseg.evaluation.uncertainty import uncertainty_auroc
from flowseg.reports.compare.scores import read_scores
from flowseg.runs.folder import Run
from flowseg.sampling.mask import MaskRule, components
from flowseg.sampling.segment import predictive_entropy

MARKUP = "[red]<b>x & y"
SPLITS = {"train": ["one"], "val": ["a", "b"], "test": ["0001", "0002", MARKUP]}
METRICS = [row.key for row in metric_table.IMAGE_METRICS]
MASK_METRICS = [row.key for row in metric_table.MASK_METRICS]
SHOWN = [row.key for row in metric_table.on_terminal() if row.key in METRICS]
CONFIG = Config(name="known", data=replace(DataConfig(), crop=16))


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Images of dark rings; the label of the second test image is empty, the name of the third contains markup."""
    root = tmp_path_factory.mktemp("rings")
    for split, names in SPLITS.items():
        for i, name in enumerate(names):
            y, x = np.mgrid[: 40 + 4 * i, :48]
            ring = np.abs(np.hypot(y - 20, x - 24) - 12) < 3
            save(root / split / "image" / f"{name}.png", 200 - 120 * ring + (x + y) % 3)
            save(root / split / "label" / f"{name}.png", 255 * (ring & (name != "0002")))
    return load_splits(root, CONFIG.data, SPLITS)


class Known:
    """A sampler whose probabilities are high where the grey value is below `cut`."""

    def __init__(self, cut: float = 0.0):
        self.config = CONFIG
        self.cut = cut

    def of(self, image: np.ndarray) -> np.ndarray:
        return np.where(image < self.cut, 0.9, 0.2).astype(np.float32)

    def samples(self, params: Any, images: Iterable[NetworkInput]) -> Iterator[np.ndarray]:
        return (self.of(one.image)[None] for one in images)


def opened(sampler: Any, rule: MaskRule | None = None) -> Any:
    """A run, opened for use, whose sampler is known."""
    return SimpleNamespace(config=CONFIG, params={}, sampler=sampler, rule=rule or MaskRule())


def scored(data: dict[str, Dataset], folder: Path, sampler: Any = None, split: str = "test") -> dict[str, Any]:
    return evaluate(opened(sampler or Known()), data, split, folder, {"run": "r"})


@pytest.fixture(scope="module")
def folder(data: dict[str, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("eval") / "test"
    scored(data, made)
    return made


class Two(Known):
    """Two samples; one finds vessels only in the left half, so that those on the right are missed and uncertain."""

    def samples(self, params: Any, images: Iterable[NetworkInput]) -> Iterator[np.ndarray]:
        for one in images:
            both, left = self.of(one.image), self.of(one.image)
            left[:, left.shape[1] // 2 :] = 0.1
            yield np.stack([both, left])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "per_image.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_per_image_csv_holds_every_metric_of_every_image(folder: Path, data: dict[str, Dataset]) -> None:
    rows = rows_of(folder)
    assert list(rows[0]) == ["image", *METRICS, *(f"frangi_{name}" for name in MASK_METRICS)]
    assert [row["image"] for row in rows] == ["test/0001", "test/0002", f"test/{MARKUP}"]
    for row, example in zip(rows, (data["test"][i] for i in range(3)), strict=True):
        expected = image_metrics(Known().of(example.image), example.mask)
        for name in METRICS:
            value = expected[name]
            assert row[name] == "" if value is None else float(row[name]) == pytest.approx(value, abs=1e-6)
    # The second truth is empty: no distance exists, and no ranking of pixels of one class.
    missing = {name for name in METRICS if rows[1][name] == ""}
    assert missing == {"hd95", "assd", "auc", "average_precision"}
    assert not any(value == "" for row in (rows[0], rows[2]) for value in row.values())


def test_the_mask_of_an_image_is_made_once(
    data: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is scored is the one that is drawn."""
    made, make = [], MaskRule.mask
    monkeypatch.setattr(MaskRule, "mask", lambda *args: made.append(args) or make(*args))  # type: ignore[func-returns-value]
    scored(data, tmp_path / "eval")
    assert len(made) == len(data["test"])


def test_the_reference_s_masks_are_scored_like_ours(folder: Path, data: dict[str, Dataset]) -> None:
    settings = frangi.FrangiSettings(**json.loads((folder / "metrics.json").read_text())["frangi"]["settings"])
    for row, pair in zip(rows_of(folder), data["test"].pairs, strict=True):
        mask = frangi.segment(as_uint8(read_image(pair.image)[0]), settings)
        for name, value in mask_metrics(mask, read_label(pair.label)).items():
            shown = row[f"frangi_{name}"]
            assert shown == "" if value is None else float(shown) == pytest.approx(value, abs=1e-6)


def test_metrics_json_says_of_how_many_images_each_mean_is(folder: Path) -> None:
    text = (folder / "metrics.json").read_text()
    assert "NaN" not in text
    found, rows = json.loads(text), rows_of(folder)
    for method, prefix, names in (("model", "", METRICS), ("frangi", "frangi_", MASK_METRICS)):
        for name in names:
            values = [float(row[prefix + name]) for row in rows if row[prefix + name]]
            entry = found[method][name]
            assert entry["n"] == len(values) and entry["mean"] == pytest.approx(np.mean(values), abs=1e-5)
            assert entry["low"] <= entry["mean"] <= entry["high"]
    assert found["model"]["hd95"]["n"] == 2 and found["model"]["dice"]["n"] == 3
    assert set(found["frangi"]) == {"settings", *MASK_METRICS}


def test_a_metric_that_no_image_has_is_null(data: dict[str, Dataset], tmp_path: Path) -> None:
    """Nothing is predicted, so distances exist only for images without vessels."""
    result = scored(data, tmp_path / "eval", Known(cut=-2))
    assert result["model"]["hd95"] == {"mean": 0, "low": None, "high": None, "n": 1}
    assert result["model"]["dice"] == {"mean": pytest.approx(1 / 3), "low": 0, "high": 1, "n": 3}
    result = scored(data, tmp_path / "one", Known(cut=-2), "train")
    assert result["model"]["hd95"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert rows_of(tmp_path / "one")[0]["hd95"] == ""


def test_pictures_have_their_image_s_size_and_show_what_was_scored(folder: Path, data: dict[str, Dataset]) -> None:
    assert sorted(p.name for p in (folder / "images").iterdir()) == sorted(["0001", "0002", MARKUP])
    assert sorted(p.stem for p in (folder / "overlays").iterdir()) == sorted(["0001", "0002", MARKUP])
    for i, pair in enumerate(data["test"].pairs):
        layers = folder / "images" / pair.image.stem
        names = ["image", "prediction", "probability", "truth"]
        assert sorted(p.name for p in layers.iterdir()) == [f"{name}.png" for name in names]
        shown = {}
        for name in names:
            with Image.open(layers / f"{name}.png") as file:
                assert file.mode == "L"
                shown[name] = np.asarray(file)
        example = data["test"][i]
        np.testing.assert_array_equal(shown["image"], as_uint8(read_image(pair.image)[0]))
        np.testing.assert_array_equal(shown["truth"], example.mask * 255)
        np.testing.assert_array_equal(shown["prediction"], (Known().of(example.image) > 0.5) * 255)
        np.testing.assert_allclose(shown["probability"] / 255, Known().of(example.image), atol=0.5 / 255)


def test_a_broken_evaluation_leaves_the_one_before(folder: Path, data: dict[str, Dataset], tmp_path: Path) -> None:
    scored(data, tmp_path / "eval")
    before = (tmp_path / "eval" / "metrics.json").read_bytes()
    broken = Known()
    broken.of = lambda image: np.full(image.shape, np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="test/0001: the network's prediction is not finite"):
        scored(data, tmp_path / "eval", broken)
    assert (tmp_path / "eval" / "metrics.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["eval"]


def lines(columns: dict[str, dict[str, Interval]], width: int) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(table("test", columns, 1000))
    return capture.get().splitlines()


def test_the_table_fits_100_columns_with_the_longest_numbers() -> None:
    longest = {
        name: Interval(9999.9, 9999.9, 9999.9, 100)
        if metric_table.metric(name).unit.largest is None
        else Interval(0.9999, 0.999, 0.999, 100)
        for name in METRICS
    }
    reference = {name: longest[name] for name in MASK_METRICS}
    shown = lines({f"{MARKUP} of a long run's name": longest, "Frangi (tuned on val)": reference}, 100)
    assert max(map(len, shown)) <= 100
    text = "\n".join(shown)
    assert (
        text.count("0.9999 [0.999, 0.999] n=100") + text.count("9999.9 [9999.9, 9999.9] n=100") == 2 * len(SHOWN) - 2
    )
    assert MARKUP in text and "…" not in text
    for name in SHOWN:
        (row,) = [line for line in shown if f" {name} " in line]
        assert str(metric_table.metric(name).better) in row
        assert (row.split()[-2] == "-") == (name not in MASK_METRICS)


def test_the_table_says_where_there_is_no_interval_and_no_value() -> None:
    nan = float("nan")
    known = dict.fromkeys(METRICS, Interval(0.5, nan, nan, 1)) | {"hd95": Interval(nan, nan, nan, 0)}
    text = "\n".join(lines({"run": known}, 100))
    assert "0.5000 n=1" in text and "nan" not in text
    assert text.count("0.5") == len(SHOWN) - 1


def test_an_ensemble_leaves_its_uncertainty(data: dict[str, Dataset], tmp_path: Path) -> None:
    result = scored(data, tmp_path / "test", Two(cut=0.3))
    rows = rows_of(tmp_path / "test")
    for row, example in zip(rows, (data["test"][i] for i in range(3)), strict=True):
        (samples,) = Two(cut=0.3).samples({}, [example])
        mean = samples.mean(axis=0)
        shown = np.asarray(Image.open(tmp_path / "test" / "images" / Path(row["image"]).name / "uncertainty.png"))
        np.testing.assert_array_equal(shown, np.round(predictive_entropy(mean) * 255))
        expected = uncertainty_auroc(mean > 0.5, example.mask, predictive_entropy(mean))
        assert float(row["uncertainty_auroc"]) == pytest.approx(expected, abs=1e-6)
        assert float(row["expected_error"]) > 0
    values = [float(row["uncertainty_auroc"]) for row in rows]
    assert max(values) > 0.9 and min(values) < 0.9  # the second image shows vessels, but its label is empty
    assert result["model"]["uncertainty_auroc"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    # The expected error is an estimate without the truth, so reports do not compare it.
    run = Run(tmp_path, CONFIG, None)
    (tmp_path / "eval").mkdir()
    (tmp_path / "test").rename(tmp_path / "eval" / "test")
    assert "uncertainty_auroc" in read_scores(run).metrics and "expected_error" not in read_scores(run).metrics


def test_masks_are_cut_at_the_threshold(data: dict[str, Dataset], tmp_path: Path) -> None:
    low, high = (
        evaluate(opened(Two(cut=0.3), MaskRule(cut)), data, "test", tmp_path / str(cut), {}) for cut in (0.3, 0.7)
    )
    assert (low["threshold"], high["threshold"]) == (0.3, 0.7)
    for cut in (0.3, 0.7):
        layers = tmp_path / str(cut) / "images" / "0001"
        prediction, probability = (np.asarray(Image.open(layers / f"{n}.png")) for n in ("prediction", "probability"))
        np.testing.assert_array_equal(prediction, np.where(probability > cut * 255, 255, 0))
    assert low["model"]["recall"]["mean"] > high["model"]["recall"]["mean"]
    assert low["model"]["auc"] == high["model"]["auc"]


class Specks(Known):
    """Finds the rings, and a speck of four pixels in a corner."""

    def of(self, image: np.ndarray) -> np.ndarray:
        found = super().of(image)
        found[:2, :2] = 0.9
        return found


def test_small_parts_are_removed_from_the_masks_that_are_scored(data: dict[str, Dataset], tmp_path: Path) -> None:
    """From those alone: metrics of the probabilities stay."""
    found = {}
    for size in (0, 4, 5):
        found[size] = evaluate(opened(Specks(), MaskRule(0.5, size)), data, "test", tmp_path / str(size), {})
        assert (found[size]["threshold"], found[size]["min_component"]) == (0.5, size)
        prediction = np.asarray(Image.open(tmp_path / str(size) / "images" / "0001" / "prediction.png")) > 0
        assert len(components(prediction)[1]) - 1 == (1 if size == 5 else 2)
    betti, dice = ([found[size]["model"][name]["mean"] for size in found] for name in ("betti0_error", "dice"))
    assert betti[0] == betti[1] == betti[2] + 1 and dice[0] == dice[1] < dice[2]
    assert found[0]["model"]["auc"] == found[5]["model"]["auc"]
