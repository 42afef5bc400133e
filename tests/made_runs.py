"""Made-up run folders as `flowseg train` and `flowseg eval` leave them: a log, scores, pictures; no checkpoint."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flowseg.config import Config
from flowseg.config_values import from_dict
from flowseg.evaluation.overlays import save_png
from flowseg.runs.folder import OtherNetwork, create_run

NARROW = {"dim": 8, "heads": 1, "head_dim": 8}
STEPS = 10  # per epoch


def make_run(
    path: Path,
    *,
    seed: int = 0,
    dices: Mapping[int, float] | None = None,
    losses: Sequence[float] = (0.5, 0.4, 0.3, 0.25),
    scores: Mapping[str, Sequence[float | None]] | None = None,
    images: Sequence[str] | None = None,
    config: Mapping[str, object] | None = None,
    network: OtherNetwork | None = None,
    maps: bool = True,
    pixels: int = 0,
    size: tuple[int, int] = (40, 48),
    about: Mapping[str, object] | None = None,
) -> Path:
    """A run's folder.

    Args:
        dices: validation Dice by epoch.
        losses: the training loss of each epoch.
        scores: test scores by metric, one value per image; None: the run has not been evaluated.
        images: names of the test images; None: test/0001 and so on.
        config: the settings that differ from a narrow baseline.
        network: what another program trained.
        maps: whether there are maps of probability and uncertainty.
        pixels: seeds the test images; runs with the same value have the same test set.
        about: further fields of metrics.json.
    """
    values = {"model": NARROW, "train": {"epochs": len(losses)}, **(config or {})}
    run = create_run(path, from_dict(Config, {"seed": seed, **values}), None, network)
    lines = [
        {"kind": "train", "step": STEPS * e, "epoch": float(e), "steps": STEPS, "loss": loss}
        for e, loss in enumerate(losses, 1)
    ]
    lines += [{"kind": "val", "step": STEPS * e, "epoch": float(e), "dice": d} for e, d in (dices or {}).items()]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if scores is not None:
        names = images or [f"test/{i + 1:04d}" for i in range(len(next(iter(scores.values()))))]
        sampler = {} if network else {"sampler": {"sampler": "euler", "steps": 1}}
        _evaluate(path / "eval" / "test", names, scores, {**sampler, **(about or {})}, maps, pixels, seed, size)
    return path


def _evaluate(
    folder: Path,
    names: Sequence[str],
    scores: Mapping[str, Sequence[float | None]],
    about: Mapping[str, object],
    maps: bool,
    pixels: int,
    seed: int,
    size: tuple[int, int],
) -> None:
    folder.mkdir(parents=True)
    with (folder / "per_image.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *scores, "frangi_dice"])
        for i, name in enumerate(names):
            cells = [scores[m][i] for m in scores]
            writer.writerow([name, *("" if v is None else f"{v:.6f}" for v in cells), "0.600000"])
    written = {"data": "data", **about, "frangi": {"settings": {"scale": 2.0}}}
    (folder / "metrics.json").write_text(json.dumps(written))
    for i, name in enumerate(names):
        image, truth = drawn_image(pixels + i, size)
        rng = np.random.default_rng([seed, i])
        prediction = truth ^ (rng.random(truth.shape) < 0.05)
        pictures = {"image": image, "truth": truth * np.uint8(255), "prediction": prediction * np.uint8(255)}
        if maps:
            grey = rng.integers(0, 256, truth.shape, dtype=np.uint8)
            pictures |= {"probability": prediction.astype(np.uint8) * 200 + grey // 5, "uncertainty": grey}
        layers = folder / "images" / Path(name).name
        layers.mkdir(parents=True)
        for view, picture in pictures.items():
            save_png(layers / f"{view}.png", picture)


def drawn_image(number: int, size: tuple[int, int] = (40, 48)) -> tuple[np.ndarray, np.ndarray]:
    """A grey image and its mask."""
    rng = np.random.default_rng([7, number])
    y, x = np.indices(size)
    truth = np.abs(y - size[0] / 2 - 0.2 * size[0] * np.sin(x / 7 + number)) < 0.08 * size[0]
    image = np.clip(170 + 10 * rng.normal(size=size) - 90 * truth, 0, 255)
    return image.astype(np.uint8), truth


def dice_of(count: int, seed: int = 0) -> np.ndarray:
    """Test Dice of a mediocre network."""
    return np.clip(np.random.default_rng(seed).normal(0.8, 0.05, count), 0, 1)
