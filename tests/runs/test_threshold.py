"""The tuned threshold: the best of its grid, exactly, and kept with the run for what it was tuned for."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refusal

from flowseg.config import EvalConfig
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.runs.threshold import FILE, GRID, Tuned, best_threshold, dice_curve, tuned_threshold


def image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A probability that knows something of its truth; many of its values lie on the grid itself."""
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 40)) > 0.8
    probability = np.clip(0.35 + 0.25 * truth + rng.normal(0, 0.15, truth.shape), 0, 1).astype(np.float32)
    return np.where(rng.random(truth.shape) > 0.5, np.round(probability, 2), probability), truth


def mean_dice(images: Sequence[tuple[np.ndarray, np.ndarray]], t: float) -> float:
    return float(np.mean([overlap_metrics(probability > t, truth)["dice"] for probability, truth in images]))


@pytest.mark.parametrize("kind", ["random", "no truth", "all truth", "nothing found", "all found"])
def test_the_curve_is_the_dice_of_every_threshold(kind: str) -> None:
    probability, truth = image(1)
    truth = {"no truth": truth & False, "all truth": truth | True}.get(kind, truth)
    probability = {"nothing found": probability * 0, "all found": probability * 0 + 1}.get(kind, probability)
    curve = dice_curve(probability, truth)
    for t, dice in zip(GRID, curve, strict=True):
        assert dice == pytest.approx(overlap_metrics(probability > t, truth)["dice"], abs=1e-12)


def test_nothing_on_the_grid_is_better() -> None:
    images = [image(seed) for seed in range(3)]
    tuned = best_threshold(*zip(*images, strict=True))
    means = [mean_dice(images, t) for t in GRID]
    assert tuned == Tuned(tuned.threshold, pytest.approx(max(means)), pytest.approx(mean_dice(images, 0.5)), 3)
    assert means[GRID.index(tuned.threshold)] == pytest.approx(max(means))
    assert tuned.dice > tuned.dice_fixed + 0.01 and tuned.threshold != 0.5


@pytest.mark.parametrize(("low", "high", "chosen"), [(0.2, 0.8, 0.5), (0.6, 0.8, 0.6), (0.1, 0.3, 0.29)])
def test_of_equal_thresholds_the_nearest_to_a_half(low: float, high: float, chosen: float) -> None:
    truth = np.eye(8, dtype=bool)
    assert best_threshold([np.where(truth, high, low).astype(np.float32)], [truth]).threshold == chosen


def test_every_image_counts_the_same() -> None:
    """A large image that wants a high threshold does not outvote two small ones that want a low one."""
    small, large = np.eye(4, dtype=bool), np.eye(400, dtype=bool)
    images = [(np.where(t, p, q).astype(np.float32), t) for t, p, q in ((small, 0.4, 0.2), (large, 0.9, 0.6))]
    assert best_threshold(*zip(*(images[:1] * 2 + images[1:]), strict=True)).threshold < 0.4


def test_images_and_truths_must_fit() -> None:
    probability, truth = image(1)
    for call in (lambda: best_threshold([], []), lambda: best_threshold([probability], [truth.T])):
        with pytest.raises(ValueError, match="one or more probabilities"):
            call()


Tune = Callable[..., Tuned]


@pytest.fixture
def tune(tmp_path: Path) -> tuple[Tune, list[str]]:
    """Tunes for a checkpoint and settings on two images; the list tells when they were predicted."""
    told: list[str] = []

    def predict() -> list[tuple[np.ndarray, np.ndarray]]:
        told.append("predicted")
        return [image(seed) for seed in range(2)]

    def call(step: int = 7, **settings: Any) -> Tuned:
        return tuned_threshold(tmp_path, EvalConfig(threshold="tuned", **settings), step, predict)

    return call, told


def test_a_tuned_threshold_is_kept_with_the_run(tune: tuple[Tune, list[str]], tmp_path: Path) -> None:
    call, told = tune
    first = call()
    kept = json.loads((tmp_path / FILE).read_text())
    assert (kept["threshold"], kept["dice"], kept["dice_fixed"]) == (first.threshold, first.dice, first.dice_fixed)
    assert (kept["split"], kept["step"], kept["images"], kept["eval"]["ensemble"]) == ("val", 7, 2, 1)
    assert call() == first
    assert told == ["predicted"] and [p.name for p in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("change", [{"step": 8}, {"ensemble": 4}, {"tta": True}, {"steps": 1}])
def test_another_checkpoint_or_other_settings_are_tuned_again(
    tune: tuple[Tune, list[str]], tmp_path: Path, change: dict[str, Any]
) -> None:
    call, told = tune
    call()
    call(**change)
    assert told == ["predicted"] * 2
    kept = json.loads((tmp_path / FILE).read_text())
    for name, value in change.items():
        assert {**kept["eval"], "step": kept["step"]}[name] == value


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"threshold": 0.5}'])
def test_a_damaged_file_is_refused(tune: tuple[Tune, list[str]], tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    message = refusal(tune[0])
    assert message.startswith(f"{tmp_path / FILE}: is damaged (") and "delete it" in message


@pytest.mark.parametrize("value", [0.505, 1.5, "0.5", None, [0.5]])
def test_a_kept_threshold_is_one_of_the_grid(tune: tuple[Tune, list[str]], tmp_path: Path, value: object) -> None:
    tune[0]()
    kept = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**kept, "threshold": value}))
    assert "is damaged" in refusal(tune[0])
