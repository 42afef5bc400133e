"""The config tree: what it accepts, what it refuses and how, and that the shipped configs keep their promises."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from config_values import nested, refusal

from flowseg.commands.parsing import load_config
from flowseg.commands.presets import PHANTOMS, cpu_preset
from flowseg.config import Config, DataConfig, EvalConfig, FilmConfig, FlowConfig, TrainConfig, check_batch
from flowseg.config_values import differences, from_dict
from flowseg.errors import UserError
from flowseg.models.network import abstract_params, parameter_counts

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
BASE = {"total": 10_694_977, "base": 10_694_977, "conditioner": 0, "film_heads": 0}
FILM = {"total": 11_649_729, "base": 10_694_977, "conditioner": 525_056, "film_heads": 429_696}
SHIPPED = {
    "baseline": BASE,
    "vlm_film": FILM,
    "gaussian": BASE,
    "vlm_film_gaussian": FILM,
    "supervised": BASE,
    "vlm_film_supervised": FILM,
}


def test_defaults_are_the_published_recipe() -> None:
    config = Config()
    assert config == from_dict(Config, {})
    assert (config.data.crop, config.data.target, config.train.batch, config.train.epochs) == (320, "mask", 6, 500)
    assert (config.data.crops_per_image, config.data.vessel_crops) == (16, 0.5)
    flow = config.flow
    assert (flow.family, flow.consistency, flow.consistency_probability) == ("binary", 0.1, 0.2)
    assert (flow.sigma, flow.time_power, flow.time_zero) == (0.25, 1, 0)
    optim = config.optim
    assert (optim.lr, optim.weight_decay, optim.clip_norm, optim.accumulate) == (2e-4, 1e-5, 1.0, 8)
    assert (optim.ema_decay, optim.schedule, config.precision) == (0.9999, "plateau", "float32")
    assert config.model.widths == (32, 32, 64, 96, 128)
    assert [config.model.stage_width(stage) for stage in range(4)] == [128, 96, 64, 32]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        # Wrong types; a bool is not accepted as a number, though Python counts it as an int.
        ("seed", "0"),
        ("seed", 0.5),
        ("seed", True),
        ("name", 3),
        ("precision", "float16"),
        ("parallel", "vmap"),
        ("devices", "all"),
        ("devices", True),
        ("model.dim", 32.0),
        ("model.heads", True),
        ("model.multipliers", (1, 2, 0.5)),
        ("model.film.stages", 3),
        ("model.film.stages", (True,)),
        ("flow.family", "diffusion"),
        ("model.film.point", "before_block1"),
        ("flow.sigma", "0.25"),
        ("flow.sigma", True),
        ("flow.sigma", None),
        ("data.root", 7),
        ("data.fold", 2),
        ("data.fold", "0/5"),
        ("data.fold", "6/5"),
        ("data.fold", "1/1"),
        ("data.fold", "2/5 "),
        ("data.channel", "yellow"),
        ("data.target", "distance"),
        ("data.target", "sauna"),  # for probabilities
        ("data.flip", True),
        ("data.crop", 64.0),
        ("data.max_side", "256"),
        ("data.max_side", True),
        ("embeddings.store", 1),
        ("optim.schedule", "linear"),
        ("train.epochs", False),
        ("train.epoch_steps", True),
        ("eval.sampler", "rk45"),
        # Values out of range.
        ("name", ""),
        ("name", "runs/one"),
        ("name", "n" * 201),
        ("name", "\udcff"),
        ("seed", -1),
        ("seed", 2**31),
        ("devices", 0),
        ("model.dim", 12),
        ("model.dim", 0),
        ("model.multipliers", (1, 2, 0, 4)),
        ("model.heads", 0),
        ("model.head_dim", -1),
        ("model.full_attention_levels", (2, 4)),
        ("model.film.stages", (0, 4)),
        ("model.film.stages", (-1,)),
        ("model.film.stages", (1, 1)),
        ("model.film.stages", (2, 1)),
        ("model.film.embedding_width", 0),
        ("model.film.condition_width", 0),
        ("model.film.hidden_width", 0),
        ("flow.sigma", -0.1),
        ("flow.sigma", float("nan")),
        ("flow.time_power", 0.0),
        ("flow.time_power", float("nan")),
        ("flow.time_zero", 1.0),
        ("flow.time_zero", float("nan")),
        ("data.crop", 100),
        ("data.crop", 8),
        ("data.crop", -64),
        ("data.vessel_crops", 1.1),
        ("data.flip", -0.1),
        ("data.quarter_turn", 2),
        ("data.rotate", 1.5),
        ("data.zoom", -1),
        ("data.zoom_range", (1.1, 0.9)),
        ("data.gamma", -1),
        ("data.rotate_degrees", -7.5),
        ("data.gamma_range", (1.1, 0.9)),
        ("data.gamma_range", (0.0, 1.0)),
        ("data.gamma_range", (0.5, float("inf"))),
        ("data.max_side", 256),  # below the crop of 320
        ("data.cache_gib", -1.0),
        ("data.threads", 0),
        ("optim.lr", 0.0),
        ("optim.lr", float("nan")),
        ("optim.lr", float("inf")),
        ("optim.weight_decay", -1e-5),
        ("optim.clip_norm", 0.0),
        ("optim.warmup_steps", -1),
        ("optim.plateau_patience", 0),
        ("optim.plateau_factor", 1.0),
        ("optim.accumulate", 0),
        ("optim.ema_decay", 1.0),
        ("train.batch", 0),
        ("train.epochs", 0),
        ("train.epoch_steps", 0),
        ("train.validate_every", 0),
        ("train.checkpoint_every", 0),
        ("train.log_every", 0),
        ("train.max_bad_steps", 0),
        ("eval.steps", 0),
        ("eval.tolerance", 0.0),
        ("eval.tolerance", 1.0),
        ("eval.overlap", 0.8),
        ("eval.overlap", -0.1),
        ("eval.window_batch", 0),
        ("eval.ensemble", 0),
        ("eval.tta", 1),
        ("eval.threshold", "best"),
        ("eval.threshold", 0.5),
        ("eval.min_component", -1),
        ("eval.min_component", "best"),
        ("eval.min_component", 2.5),
        ("eval.min_component", True),
        ("embeddings.store", "store.safetensors"),  # without FiLM stages
    ],
)
def test_a_mistake_is_one_line_that_names_field_and_value(path: str, value: object) -> None:
    message = refusal(nested(path, value))
    assert message.startswith(f"{path} = {value!r}: ")
    assert len(message.split(": ", 1)[1]) > 5  # and says what to do


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", "0", "int"),
        ("train.microbatch", 1.5, "int | None"),
        ("data.root", 7, "str | None"),
        ("model.film.stages", 3, "tuple[int, ...]"),
        ("data.gamma_range", 1.0, "tuple[float, float]"),
    ],
)
def test_the_expected_type_is_told_without_its_bounds(path: str, value: object, expected: str) -> None:
    assert refusal(nested(path, value)) == f"{path} = {value!r}: expected {expected}"


@pytest.mark.parametrize(
    "path", ["nme", "optimizer", "model.width", "model.film.layers", "data.crops", "train.steps", "eval.seed"]
)
def test_an_unknown_field_is_named_beside_the_known_ones(path: str) -> None:
    message = refusal(nested(path, 1))
    assert f"{path} = 1" in message
    assert re.search(r"one of (\w+, )+\w+$", message)


@pytest.mark.parametrize("values", [None, [], "baseline", {"model": 3}, {"model": {"film": None}}, {"eval": [1]}])
def test_a_section_is_an_object(values: object) -> None:
    assert "expected an object" in refusal(values)


def test_every_section_checks_itself() -> None:
    for make, field in (
        (lambda: DataConfig(crop=20), "data.crop"),
        (lambda: FilmConfig(stages=(3, 2)), "model.film.stages"),
        (lambda: replace(Config().eval, steps=0), "eval.steps"),
    ):
        with pytest.raises(UserError, match=re.escape(field)):
            make()


def test_the_gaussian_family_alone_learns_sauna_maps() -> None:
    data = DataConfig(target="sauna")
    assert Config(flow=FlowConfig(family="gaussian"), eval=EvalConfig(sampler="midpoint"), data=data).data == data
    for flow, sampling in ((FlowConfig(), EvalConfig()), (FlowConfig(family="supervised"), EvalConfig(steps=1))):
        with pytest.raises(UserError, match=f"the {flow.family} family learns probabilities"):
            Config(flow=flow, eval=sampling, data=data)


@pytest.mark.parametrize(("batch", "devices"), [(6, 4), (1, 2), (8, 3)])
def test_a_batch_is_shared_out_evenly(batch: int, devices: int) -> None:
    for make in (
        lambda: check_batch(batch, devices),
        lambda: Config(train=TrainConfig(batch=batch), devices=devices),
    ):
        with pytest.raises(UserError) as caught:
            make()
        message = str(caught.value)
        assert message.startswith(f"train.batch = {batch}: ") and f"{devices} devices" in message
    check_batch(devices * 3, devices)


def test_the_shipped_configs_are_there() -> None:
    assert {path.stem for path in CONFIGS} == set(SHIPPED)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_makes_a_network_of_the_promised_size(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    counts = parameter_counts(abstract_params(config))
    assert counts["total"] == counts["base"] + counts["conditioner"] + counts["film_heads"]
    assert counts == SHIPPED[path.stem]
    # The file's docstring states the number.
    assert f"{counts['total']:,} parameters" in path.read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_of_one_network_differ_in_the_flow_alone(path: Path) -> None:
    """Such a comparison shows what the flow does; the flow brings its target, its sampler and its precision along."""
    config, base = load_config(path), load_config(path.with_name("baseline.py"))
    fields = {line.split(":")[0] for line in differences(base, config)} - {"name", "model.film.stages"}
    assert fields <= {"flow.family", "data.target", "eval.sampler", "eval.steps", "precision"}
    assert ("model.film.stages" in str(differences(base, config))) == path.stem.startswith("vlm_film")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_has_a_reduced_recipe(path: Path) -> None:
    full = load_config(path)
    reduced = cpu_preset(full, PHANTOMS)
    assert (reduced.name, reduced.seed, reduced.flow.sigma) == (full.name, full.seed, full.flow.sigma)
    assert reduced.model.film == full.model.film
    assert parameter_counts(abstract_params(reduced))["total"] < parameter_counts(abstract_params(full))["total"] / 2
