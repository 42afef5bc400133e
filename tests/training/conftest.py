"""A narrow network on small maps, shared by the training tests so that its programs are compiled once."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowseg.config import Config, DataConfig, EvalConfig, FilmConfig, ModelConfig, OptimConfig, TrainConfig


@pytest.fixture(scope="session")
def tiny_config(tiny_data: Path) -> Config:
    """Trains 12 steps of 4 crops of 16x16 on the small phantoms; one device."""
    return Config(
        name="tiny",
        devices=1,
        model=ModelConfig(
            dim=8, heads=1, head_dim=8, film=FilmConfig(stages=(1, 3), condition_width=8, hidden_width=8)
        ),
        data=replace(DataConfig(), root=str(tiny_data), crop=16, max_side=48, vessel_crops=0.5),
        optim=OptimConfig(lr=1e-3, accumulate=1, ema_decay=0.9, plateau_patience=1),
        train=TrainConfig(batch=4, epochs=3, epoch_steps=4, validate_every=1, checkpoint_every=3, log_every=2),
        eval=EvalConfig(sampler="euler", steps=1, window_batch=8, overlap=0.0),
    )
