"""The bounds of the config tree: every number has them, and each is told with field, value and remedy."""

from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from config_values import nested, refusal

from flowseg.bounds import Bound, annotated_fields
from flowseg.config import Config, FilmConfig, ModelConfig
from flowseg.errors import UserError

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
    ("train.half_size_share", 1.0, "must be at least 0 and below 1"),
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
    ("flow.time_zero", 1.0, "must be at least 0 and below 1"),
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


def test_half_a_crop_fits_the_network_too() -> None:
    def with_half(crop: int, share: float) -> Config:
        return Config(data=replace(Config().data, crop=crop), train=replace(Config().train, half_size_share=share))

    assert with_half(328, 0).data.crop == 328 and with_half(336, 0.5).data.crop == 336
    remedy = "data.crop = 328: must be a multiple of 16 for train.half_size_share with patches of 1"
    with pytest.raises(UserError, match=remedy):
        with_half(328, 0.5)


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
