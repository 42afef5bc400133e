"""Configs as JSON: they come back as they were, also from older versions, and their differences are named."""

import json
from dataclasses import replace

import pytest

from flowseg.config import (
    Config,
    DataConfig,
    EmbeddingConfig,
    FilmConfig,
    FlowConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)
from flowseg.config_values import differences, from_dict, saved_config, to_json


def test_numbers_may_be_written_as_integers() -> None:
    config = from_dict(Config, {"optim": {"lr": 1}, "flow": {"sigma": 0}, "data": {"flip": 1}})
    assert (config.optim.lr, config.flow.sigma, config.data.flip) == (1, 0, 1)


CHANGED = Config(
    name="other",
    seed=5,
    devices=2,
    model=ModelConfig(dim=16, full_attention_levels=(), film=FilmConfig(stages=(1, 3), point="after_block2")),
    flow=FlowConfig(sigma=0),
    data=DataConfig(root="somewhere", crop=64, max_side=128, gamma_range=(0.5, 2)),
    embeddings=EmbeddingConfig(store="store.safetensors"),
    optim=OptimConfig(lr=1e-3, schedule="cosine"),
    train=TrainConfig(batch=8, epoch_steps=3),
)


@pytest.mark.parametrize("config", [Config(), CHANGED])
def test_json_round_trip(config: Config) -> None:
    assert from_dict(Config, json.loads(to_json(config))) == config


def test_differences_name_the_fields() -> None:
    assert differences(CHANGED, CHANGED) == []
    other = replace(
        CHANGED,
        seed=6,
        model=replace(CHANGED.model, film=replace(CHANGED.model.film, stages=(3,))),
        data=replace(CHANGED.data, max_side=None),
    )
    assert differences(CHANGED, other) == [
        "seed: 5 != 6",
        "model.film.stages: (1, 3) != (3,)",
        "data.max_side: 128 != None",
    ]


def test_a_config_of_an_older_version_stays_what_it_was() -> None:
    values = json.loads(to_json(CHANGED))
    assert saved_config(values) == CHANGED
    for name in ("family", "consistency", "consistency_probability"):
        del values["flow"][name]
    del values["data"]["crops_per_image"], values["eval"]["min_component"]
    older = saved_config(values)
    assert (older.flow.family, older.flow.consistency, older.data.crops_per_image) == ("gaussian", 0, 1)
    assert older.eval.min_component == 0 and CHANGED.eval.min_component == "auto"
    assert older.data.crop == CHANGED.data.crop and older.flow.sigma == CHANGED.flow.sigma
