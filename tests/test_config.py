"""The config tree: what it accepts, what it refuses and how, and that the shipped configs keep their promises."""

import json
import re
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from flowseg.bounds import Bound, annotated_fields
from flowseg.commands.parsing import load_config
from flowseg.commands.presets import cpu_preset
from flowseg.config import (
    Config,
    DataConfig,
    EmbeddingConfig,
    FilmConfig,
    FlowConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    check_batch,
    differences,
    from_dict,
    saved_config,
    to_json,
)
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


def nested(path: str, value: object) -> dict[str, Any]:
    """Returns {'a': {'b': value}} for the path a.b."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def refusal(values: object) -> str:
    """Returns the message, of one line, with which a config is refused."""
    with pytest.raises(UserError) as caught:
        from_dict(Config, values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_published_recipe() -> None:
    config = Config()
    assert config == from_dict(Config, {})
    assert (config.data.crop, config.data.target, config.train.batch, config.train.epochs) == (320, "mask", 6, 500)
    assert (config.data.crops_per_image, config.data.vessel_crops) == (16, 0.5)
    flow = config.flow
    assert (flow.family, flow.consistency, flow.consistency_probability) == ("binary", 0.1, 0.2)
    assert (flow.sigma, flow.time_power) == (0.25, 1)
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


AT_LEAST_1, POSITIVE, NOT_NEGATIVE = "must be at least 1", "must be positive", "must not be negative"
LEVEL, PROBABILITY = "levels and stages are 0 to 3", "is a probability: choose a number from 0 to 1"
FRACTION = "must lie between 0 and 1, and be neither"
FACTOR = "must lie between 0.01 and 100 (beyond, nothing is left)"
BROKEN: list[tuple[str, Any, str]] = [
    ("name", "..", "must be a plain file name"),
    ("name", "a\nb", "must be printable, of at most 200 bytes"),
    ("seed", -1, "must lie between 0 and 2147483647"),
    ("devices", 0, AT_LEAST_1),
    ("model.dim", 12, "must be a multiple of 8 from 8 to 1024"),
    ("model.multipliers", (1, 2, 3, 0), AT_LEAST_1),
    ("model.multipliers", (), "give one number for each of 1 to 4 levels"),
    ("model.patch", 0, AT_LEAST_1),
    ("model.heads", 0, AT_LEAST_1),
    ("model.head_dim", 0, AT_LEAST_1),
    ("model.full_attention_levels", (0, 4), LEVEL),
    ("model.film.stages", (-1, 0), LEVEL),
    ("model.film.stages", (1, 0), "list each stage once, in ascending order"),
    ("model.film.embedding_width", 0, AT_LEAST_1),
    ("model.film.condition_width", 0, AT_LEAST_1),
    ("model.film.hidden_width", 0, AT_LEAST_1),
    ("model.film.junction_radius", -1, "must be at least 0"),
    ("flow.sigma", -0.1, NOT_NEGATIVE),
    ("flow.time_power", 0.0, POSITIVE),
    ("flow.consistency", -0.1, NOT_NEGATIVE),
    ("flow.cldice", -0.1, NOT_NEGATIVE),
    ("flow.consistency_probability", 1.2, PROBABILITY),
    ("data.fold", "2 of 5", "write which fold of how many, for example 2/5"),
    ("data.crop", 8, "must be a multiple of 8 from 16 to 16384"),
    ("data.crops_per_image", 0, AT_LEAST_1),
    ("data.vessel_crops", 1.1, PROBABILITY),
    ("data.flip", -0.1, PROBABILITY),
    ("data.quarter_turn", 2, PROBABILITY),
    ("data.rotate", 1.1, PROBABILITY),
    ("data.rotate_degrees", -1.0, NOT_NEGATIVE),
    ("data.zoom", 1.1, PROBABILITY),
    ("data.zoom_range", (0.0, 1.0), FACTOR),
    ("data.zoom_range", (1.1, 1.0), "give the smaller number first"),
    ("data.gamma", 1.1, PROBABILITY),
    ("data.gamma_range", (0.0, 1.0), FACTOR),
    ("data.gamma_range", (1.1, 1.0), "give the smaller number first"),
    ("data.cache_gib", -1.0, NOT_NEGATIVE),
    ("data.threads", 0, AT_LEAST_1),
    ("optim.lr", 0.0, POSITIVE),
    ("optim.muon_lr", 0.0, POSITIVE),
    ("optim.weight_decay", -1.0, NOT_NEGATIVE),
    ("optim.clip_norm", 0.0, POSITIVE),
    ("optim.warmup_steps", -1, "must be at least 0"),
    ("optim.plateau_patience", 0, AT_LEAST_1),
    ("optim.plateau_factor", 1.0, FRACTION),
    ("optim.accumulate", 0, AT_LEAST_1),
    ("optim.ema_decay", 1.0, "must be at least 0 and below 1"),
    ("train.batch", 0, AT_LEAST_1),
    ("train.microbatch", 0, AT_LEAST_1),
    ("train.epochs", 0, AT_LEAST_1),
    ("train.epoch_steps", 0, AT_LEAST_1),
    ("train.validate_every", 0, AT_LEAST_1),
    ("train.checkpoint_every", 0, AT_LEAST_1),
    ("train.log_every", 0, AT_LEAST_1),
    ("train.max_bad_steps", 0, AT_LEAST_1),
    ("eval.steps", 0, AT_LEAST_1),
    ("eval.tolerance", 0.0, FRACTION),
    ("eval.overlap", 0.8, "must lie between 0 and 0.75"),
    ("eval.window_batch", 0, AT_LEAST_1),
    ("eval.ensemble", 0, AT_LEAST_1),
    ("eval.min_component", -1, "must be auto, or at least 0"),
    ("data.max_side", 0, AT_LEAST_1),
    ("eval.min_component", 2**26 + 1, "must be auto, or at most 67,108,864 (a whole image)"),
]
WIDTH = "must be at most 65,536 (far wider than any encoder's vectors)"
WEIGHT = "must be at most 1,000 (nothing else in the loss would count)"
RATE = "must be at most 100 (training diverges far below)"
STEPS = "must be at most 2,147,483,647 (steps are counted in 32 bits)"
EPOCHS = "must be at most 1,000,000 (2,000 times the published number)"
BATCH = "must be at most 65,536 (10,000 times the published batch)"
BROKEN += [
    ("devices", 4097, "must be at most 4,096 (one process drives no more)"),
    ("model.multipliers", (1, 65), "must be at most 64 (16 times the largest published one)"),
    ("model.patch", 65, "must be at most 64 (vessels are lost in such patches)"),
    ("model.heads", 65, "must be at most 64 (16 times the published number)"),
    ("model.head_dim", 513, "must be at most 512 (16 times the published width)"),
    ("model.film.embedding_width", 65_537, WIDTH),
    ("model.film.condition_width", 65_537, WIDTH),
    ("model.film.hidden_width", 65_537, WIDTH),
    ("model.film.junction_radius", 129, "must be at most 128 (many times a vessel's width)"),
    ("flow.sigma", 10.5, "must be at most 10 (the mask is lost in such noise)"),
    ("flow.time_power", 101.0, "must be at most 100 (nearly all times would be 0)"),
    ("flow.consistency", 1001.0, WEIGHT),
    ("flow.cldice", 1001.0, WEIGHT),
    ("data.crops_per_image", 1_000_001, "must be at most 1,000,000 (an epoch would never end)"),
    ("data.max_side", 65_537, "must be at most 65,536 (far beyond the images that flowseg is for)"),
    ("data.rotate_degrees", 1e308, "must be at most 180 (a half turn reaches every angle)"),
    ("data.cache_gib", 1e7, "must be at most 1,000,000 (more memory than machines have)"),
    ("data.threads", 257, "must be at most 256 (more would wait for each other)"),
    ("optim.lr", 101.0, RATE),
    ("optim.muon_lr", 101.0, RATE),
    ("optim.weight_decay", 1001.0, "must be at most 1,000 (parameters would be 0 after a step)"),
    ("optim.clip_norm", 1e31, "must be at most 1e+30 (nothing is clipped at such a norm)"),
    ("optim.warmup_steps", 10**12, STEPS),
    ("optim.plateau_patience", 10**7, "must be at most 1,000,000 (no run has more validations)"),
    ("optim.accumulate", 10**12, "must be at most 1,000,000 (the parameters would hardly ever change)"),
    ("train.batch", 65_537, BATCH),
    ("train.microbatch", 65_537, BATCH),
    ("train.epochs", 1_000_001, EPOCHS),
    ("train.epoch_steps", 2**31, STEPS),
    ("train.validate_every", 1_000_001, EPOCHS),
    ("train.checkpoint_every", 2**31, STEPS),
    ("train.log_every", 2**31, STEPS),
    ("train.max_bad_steps", 2**31, STEPS),
    ("eval.steps", 10_001, "must be at most 10,000 (200 times the published number)"),
    ("eval.window_batch", 65_537, "must be at most 65,536 (memory holds no more)"),
    ("eval.ensemble", 10_001, "must be at most 10,000 (their mean no longer changes)"),
]


@pytest.mark.parametrize(("path", "value", "remedy"), BROKEN)
def test_a_broken_bound_is_told_with_field_value_and_remedy(path: str, value: object, remedy: str) -> None:
    assert refusal(nested(path, value)) == f"{path} = {value!r}: {remedy}"


def test_levels_and_stages_follow_from_the_multipliers() -> None:
    shallow = ModelConfig(multipliers=(1, 2), full_attention_levels=(1,), film=FilmConfig(stages=(0, 1)))
    assert (shallow.divisor, shallow.widths) == (2, (32, 32, 64))
    remedy = "with 2 multipliers there are levels and stages 0 to 1"
    for fields in ({"full_attention_levels": (1, 2)}, {"film": FilmConfig(stages=(2,))}):
        with pytest.raises(UserError, match=remedy):
            replace(shallow, **fields)


def bounds_in(hint: object) -> Iterator[Bound]:
    """Yields the bounds anywhere in an annotated type."""
    for part in get_args(hint):
        yield from [part] if isinstance(part, Bound) else bounds_in(part)


def all_bounds(cls: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the path and remedy of every bound in a config tree."""
    for name, hint in annotated_fields(cls).items():
        if isinstance(hint, type) and is_dataclass(hint):
            yield from all_bounds(hint, f"{prefix}{name}.")
        for bound in bounds_in(hint):
            yield prefix + name, bound.remedy


def numbers(cls: type, prefix: str = "") -> Iterator[tuple[str, type, int]]:
    """Yields path and type of every number in a config tree, and how many numbers the field holds; 0 for one alone."""
    for name, hint in get_type_hints(cls).items():
        if isinstance(hint, type) and is_dataclass(hint):
            yield from numbers(hint, f"{prefix}{name}.")
        for kind in {hint, *get_args(hint)} & {int, float}:
            held = 0 if get_origin(hint) is not tuple else get_args(hint).count(kind)
            yield prefix + name, kind, held


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("path", "kind", "held"), numbers(Config))
def test_every_number_has_a_lower_and_an_upper_bound(path: str, kind: type, held: int, sign: int) -> None:
    number = sign * (8 * 10**15 if kind is int else 1e308)
    value = (number,) * held or number
    assert refusal(nested(path, value)).startswith(f"{path} = {value!r}: ")


def test_the_table_above_breaks_every_bound() -> None:
    assert {(path, remedy) for path, _, remedy in BROKEN} == set(all_bounds(Config))


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
    reduced = cpu_preset(full)
    assert (reduced.name, reduced.seed, reduced.flow.sigma) == (full.name, full.seed, full.flow.sigma)
    assert reduced.model.film == full.model.film
    assert parameter_counts(abstract_params(reduced))["total"] < parameter_counts(abstract_params(full))["total"] / 2
