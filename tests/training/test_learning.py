"""Training learns: on a few drawn images the loss falls and the vessels are found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowseg.config import Config, Family, FilmConfig, OptimConfig, TargetKind
from flowseg.runs.folder import create_run
from flowseg.runs.log import read_metrics
from flowseg.runs.prepare import prepare
from flowseg.training.loop import train


@pytest.mark.parametrize(
    ("family", "target", "devices", "share"), [("binary", "mask", 1, 0.85), ("gaussian", "sauna", 4, 0.6)]
)
def test_the_loss_falls_and_vessels_are_found(
    tiny_config: Config, tmp_path: Path, family: Family, target: TargetKind, devices: int, share: float
) -> None:
    config = replace(
        tiny_config,
        devices=devices,
        model=replace(tiny_config.model, film=FilmConfig()),
        flow=replace(tiny_config.flow, family=family, time_power=2.5),
        data=replace(tiny_config.data, crop=32, target=target),
        optim=OptimConfig(lr=5e-3, schedule="cosine", warmup_steps=5, accumulate=1, ema_decay=0.9),
        train=replace(tiny_config.train, epochs=2, epoch_steps=60, checkpoint_every=1000, log_every=20),
    )
    datasets = prepare(config).datasets
    run = create_run(tmp_path / "run", config, None)
    record = train(run, datasets)
    losses = [line["loss"] for line in read_metrics(run.path) if line["kind"] == "train"]
    assert losses[-1] < share * losses[0]
    # What a prediction of vessel everywhere would score.
    shares = [datasets["val"].truth(i).mean() for i in range(len(datasets["val"]))]
    everywhere = float(np.mean([2 * share / (1 + share) for share in shares]))
    assert record.best_dice > 1.3 * everywhere
