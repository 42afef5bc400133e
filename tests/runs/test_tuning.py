"""The tuned mask rule: the best of its grids, exactly, and kept with the run for what it was tuned for."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refusal

from flowseg.config import EvalConfig
from flowseg.evaluation.overlap import overlap_metrics
from flowseg.evaluation.topology import topology_metrics
from flowseg.runs.tuning import (
    FILE,
    GRID,
    SIZES,
    Removal,
    Tuned,
    best_removal,
    best_rules,
    best_threshold,
    dice_curve,
    kept_rule,
    removal_curve,
    sampling,
    tuned_rule,
)
from flowseg.sampling.mask import FIXED, MaskRule


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


@pytest.mark.parametrize("kind", ["random", "no truth", "nothing found"])
def test_the_removal_curve_is_that_of_every_size(kind: str) -> None:
    probability, truth = image(1)
    truth = truth & (kind != "no truth")
    probability = probability * (kind != "nothing found")
    curve = removal_curve(probability > 0.5, truth)
    for size, (dice, error) in zip(SIZES, curve.T, strict=True):
        mask = MaskRule(0.5, size).mask(probability)
        assert dice == pytest.approx(overlap_metrics(mask, truth)["dice"], abs=1e-12)
        assert error == topology_metrics(mask, truth)["betti0_error"]


def vessel(*others: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """A found vessel of 200 pixels, and other parts of (row, length, probability)."""
    probability, truth = np.zeros((40, 200), np.float32), np.zeros((40, 200), bool)
    probability[5], truth[5] = 0.9, True
    for row, length, value in others:
        probability[row, :length] = value
    return probability, truth


def two_of(image: tuple[np.ndarray, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Probabilities and truths of two equal images."""
    return [image[0]] * 2, [image[1]] * 2


def test_parts_are_removed_as_far_as_the_dice_does_not_fall() -> None:
    """The size with the least Betti-0 error, and of equal ones the smallest."""
    specks = vessel((10, 3, 0.8), (20, 18, 0.8), (30, 12, 0.6))
    assert best_removal(*two_of(specks), FIXED) == Removal(20, 1.0, 0.0, pytest.approx(400 / 433), 3.0)
    assert best_removal(*two_of(specks), 0.7) == Removal(20, 1.0, 0.0, pytest.approx(400 / 421), 2.0)
    # A second vessel is found in pieces of 30: without them there is one part less than there should be, and no more.
    probability, truth = vessel(*((20, 100 - 5, 0.8),), (30, 4, 0.8))
    truth[20] = True
    probability[20, 30::31] = 0
    found = best_removal(*two_of((probability, truth)), FIXED)
    assert found.min_component == 5 and found.dice > found.dice_all


def test_a_size_that_lowers_the_dice_is_not_taken() -> None:
    """True pieces would be removed with the false ones: the number of parts would be right, the Dice lower."""
    probability, truth = vessel((20, 60, 0.8), (30, 60, 0.8), (10, 50, 0.8))
    truth[20], truth[30] = True, True
    truth[20, 60], truth[30, 60] = False, False
    assert best_removal(*two_of((probability, truth)), FIXED).min_component == 0


def test_a_size_that_spares_the_vessels_by_chance_is_not_taken() -> None:
    """Removal of 60 pixels helps the mean Dice of these images, but costs one of them a vessel."""
    false, true = vessel((20, 59, 0.8)), vessel((20, 59, 0.8))
    true[1][20, :59] = True
    some = [false, false, true]
    curves = np.stack([removal_curve(probability > FIXED, truth)[0] for probability, truth in some])
    at_60, at_50 = SIZES.index(70), SIZES.index(50)
    assert curves[:, at_60].mean() > curves[:, 0].mean() and (curves[:, at_50] == curves[:, 0]).all()
    assert best_removal(*zip(*some, strict=True), FIXED).min_component == 0
    assert best_removal(*zip(*[false] * 3, strict=True), FIXED).min_component == 70
    assert best_removal(*zip(false, strict=True), FIXED).min_component == 0  # one image tells nothing of others


def test_sizes_beyond_one_that_lowers_the_dice_are_not_looked_at() -> None:
    """One of many sizes would be good by chance: here 100, which removes two false parts with a true one."""
    probability, truth = vessel((10, 60, 0.8), (20, 90, 0.8), (30, 95, 0.8))
    truth[10, :60] = True
    dice, error = removal_curve(probability > FIXED, truth)
    at = SIZES.index
    assert dice[at(70)] < dice[0] < dice[at(100)] and error[at(100)] < error[0]
    assert best_removal(*two_of((probability, truth)), FIXED).min_component == 0


def specked(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A vessel, half of which is less probable, and specks of 4 to 24 pixels, the larger the less probable."""
    rng = np.random.default_rng(seed)
    lengths = range(4, 25, 4)
    probability, truth = vessel(*((8 + 5 * i, n, 0.9 - n / 40) for i, n in enumerate(lengths)))
    probability[4], truth[4] = rng.uniform(0.4, 0.45, 200), True
    return probability, truth


def test_both_thresholds_get_a_removal_of_their_own() -> None:
    images = [specked(seed) for seed in range(3)]
    tuned = best_rules(*zip(*images, strict=True))
    assert tuned.removal == best_removal(*zip(*images, strict=True), tuned.threshold)
    assert tuned.removal_fixed == best_removal(*zip(*images, strict=True), FIXED) != tuned.removal
    for removal in (tuned.removal, tuned.removal_fixed):
        assert removal is not None and removal.min_component > 0
        assert removal.dice >= removal.dice_all and removal.betti0_error < removal.betti0_error_all
    for mode, removal, threshold in (("tuned", tuned.removal, tuned.threshold), ("fixed", tuned.removal_fixed, FIXED)):
        assert removal is not None
        assert tuned.rule(EvalConfig(threshold=mode)) == MaskRule(threshold, removal.min_component)  # type: ignore[arg-type]
        assert tuned.rule(EvalConfig(threshold=mode, min_component=7)) == MaskRule(threshold, 7)  # type: ignore[arg-type]


Tune = Callable[..., MaskRule]


@pytest.fixture
def tune(tmp_path: Path) -> tuple[Tune, list[str]]:
    """Tunes for a checkpoint and settings on two images; the list tells when they were predicted."""
    told: list[str] = []

    def predict() -> list[tuple[np.ndarray, np.ndarray]]:
        told.append("predicted")
        return [specked(seed) for seed in range(2)]

    def call(step: int = 7, **settings: Any) -> MaskRule:
        return tuned_rule(tmp_path, EvalConfig(**{"threshold": "tuned", **settings}), step, predict)

    return call, told


def test_a_tuned_rule_is_kept_with_the_run(tune: tuple[Tune, list[str]], tmp_path: Path) -> None:
    call, told = tune
    first = call()
    (kept,) = json.loads((tmp_path / FILE).read_text())["tuned"]
    assert (kept["threshold"], kept["removal"]["min_component"]) == (first.threshold, first.min_component)
    assert (kept["split"], kept["step"], kept["images"], kept["eval"]["ensemble"]) == ("val", 7, 2, 1)
    assert call() == first
    # The fixed threshold has been tuned along with it, and a size that is given needs no more than the threshold.
    assert call(threshold="fixed") == MaskRule(FIXED, kept["removal_fixed"]["min_component"])
    assert call(min_component=3) == MaskRule(first.threshold, 3)
    assert told == ["predicted"] and [p.name for p in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("change", [{"ensemble": 4}, {"tta": True}, {"steps": 1}])
def test_other_settings_are_tuned_beside_it(
    tune: tuple[Tune, list[str]], tmp_path: Path, change: dict[str, Any]
) -> None:
    call, told = tune
    call()
    call(**change)
    call()
    assert told == ["predicted"] * 2
    kept = json.loads((tmp_path / FILE).read_text())["tuned"]
    assert len(kept) == 2 and change.items() <= kept[1]["eval"].items()


def test_another_checkpoint_is_tuned_again(tune: tuple[Tune, list[str]], tmp_path: Path) -> None:
    call, told = tune
    call()
    call(8)
    assert told == ["predicted"] * 2
    assert [entry["step"] for entry in json.loads((tmp_path / FILE).read_text())["tuned"]] == [8]


def test_the_file_of_an_older_version_holds_a_threshold(tune: tuple[Tune, list[str]], tmp_path: Path) -> None:
    """Nothing is tuned again for a run that removes no parts; a size is tuned if it is asked for."""
    call, told = tune
    older = {"threshold": 0.37, "dice": 0.6, "dice_fixed": 0.5, "images": 2, "split": "val", "step": 7}
    (tmp_path / FILE).write_text(json.dumps({**older, "eval": sampling(EvalConfig())}))
    assert call(min_component=0) == MaskRule(0.37, 0)
    assert kept_rule(tmp_path, EvalConfig(), 7) is None and told == []
    assert call().min_component > 0 and told == ["predicted"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"threshold": 0.5}', '{"tuned": [{}]}', '{"tuned": 5}'])
def test_a_damaged_file_is_refused(tune: tuple[Tune, list[str]], tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    message = refusal(tune[0])
    assert message.startswith(f"{tmp_path / FILE}: is damaged (") and "delete it" in message


@pytest.mark.parametrize(
    "change",
    [
        *({"threshold": value} for value in (0.505, 1.5, "0.5", None, [0.5])),
        *({"removal": value} for value in ({"min_component": 7}, {"min_component": 5, "other": 1}, 5)),
    ],
)
def test_what_is_kept_is_of_the_grids(tune: tuple[Tune, list[str]], tmp_path: Path, change: dict[str, object]) -> None:
    tune[0]()
    (kept,) = json.loads((tmp_path / FILE).read_text())["tuned"]
    if isinstance(removal := change.get("removal"), dict):
        change = {"removal": {**kept["removal"], **removal}}
    (tmp_path / FILE).write_text(json.dumps({"tuned": [{**kept, **change}]}))
    assert "is damaged" in refusal(tune[0])


def test_a_rule_that_has_changed_is_refused(tune: tuple[Tune, list[str]], tmp_path: Path) -> None:
    size = tune[0]().min_component
    text = (tmp_path / FILE).read_text()
    changed = text.replace(f'"min_component": {size}', f'"min_component": {SIZES[SIZES.index(size) + 1]}')
    (tmp_path / FILE).write_text(changed)
    assert "is damaged (ValueError: it does not match its digest)" in refusal(tune[0])
