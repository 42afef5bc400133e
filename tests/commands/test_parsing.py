"""Options from the command line: every field of the config is one, and bounds are checked."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from commands import BASELINE
from refusals import refusal

from flowseg.bounds import annotated_fields, broken_bounds
from flowseg.cli import COMMANDS
from flowseg.commands.import_torch import ImportTorch
from flowseg.commands.parsing import parse, with_config
from flowseg.commands.train import Params, Train, configured
from flowseg.config import Config, EvalConfig
from flowseg.config_values import from_dict

CHANGED: dict[str, Any] = {
    "name": "other",
    "seed": 5,
    "precision": "bf16",
    "parallel": "jit",
    "devices": 2,
    "model": {
        "dim": 16,
        "multipliers": (1, 1, 2, 2),
        "patch": 2,
        "heads": 2,
        "head_dim": 8,
        "full_attention_levels": (1, 2, 3),
        "film": {
            "stages": (1, 3),
            "point": "after_block2",
            "embedding_width": 8,
            "condition_width": 16,
            "hidden_width": 4,
            "junction_radius": 3,
        },
    },
    "flow": {
        "family": "gaussian",
        "sigma": 0.5,
        "time_power": 2.0,
        "time_zero": 0.5,
        "cldice": 0.5,
        "consistency": 0.5,
        "consistency_probability": 0.5,
    },
    "data": {
        "root": "somewhere",
        "fold": "2/5",
        "channel": "green",
        "target": "coverage",
        "crop": 64,
        "crops_per_image": 3,
        "vessel_crops": 0.25,
        "max_side": 128,
        "flip": 0.0,
        "quarter_turn": 0.0,
        "rotate": 0.0,
        "rotate_degrees": 1.0,
        "zoom": 0.5,
        "zoom_range": (0.5, 2.0),
        "gamma": 0.0,
        "gamma_range": (0.5, 2.0),
        "cache_gib": 0.0,
        "threads": 1,
    },
    "embeddings": {"store": "store.safetensors"},
    "optim": {
        "rule": "muon",
        "muon_lr": 1e-2,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "clip_norm": 2.0,
        "schedule": "cosine",
        "warmup_steps": 7,
        "plateau_patience": 2,
        "plateau_factor": 0.25,
        "accumulate": 1,
        "ema_decay": 0.0,
    },
    "train": {
        "batch": 8,
        "microbatch": 2,
        "epochs": 3,
        "epoch_steps": 4,
        "validate_every": 1,
        "checkpoint_every": 2,
        "log_every": 1,
        "half_size_share": 0.5,
        "max_bad_steps": 1,
    },
    "eval": {
        "sampler": "rk4",
        "steps": 3,
        "tolerance": 0.1,
        "overlap": 0.0,
        "window_batch": 1,
        "ensemble": 2,
        "tta": True,
        "threshold": "tuned",
        "min_component": 20,
    },
}


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the values of a config tree by dotted path."""
    found: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        path = prefix + field.name
        found |= leaves(value, f"{path}.") if is_dataclass(value) else {path: value}
    return found


def test_every_field_of_the_config_is_an_option() -> None:
    wanted, default = from_dict(Config, CHANGED), leaves(Config())
    args = [str(BASELINE)]
    for path, value in leaves(wanted).items():
        assert value != default[path] or path == "flow.family", path  # there is one family to choose from
        parts = value if isinstance(value, tuple) else () if value is True else (value,)
        args += [f"--{path}", *map(str, parts)]
    parsed = with_config(Params, args, "params", lambda config: config)
    assert parsed.config == wanted


@pytest.mark.parametrize("option", ["--image-size", "--full-attention-at"])
def test_a_command_s_own_options_have_bounds(option: str) -> None:
    message = refusal(lambda: parse(ImportTorch, ["x.ckpt", "--out", "run", option, "0"], "import-torch"))
    assert message.startswith(f"{option} ") and message.endswith(": must be at least 1")


def numeric_options(cls: type) -> Iterator[tuple[type, str, type, int]]:
    """Yields every option of a command that takes numbers: its class, name, type, and how many (0: one alone)."""
    for name, hint in get_type_hints(cls).items():
        if isinstance(hint, type) and is_dataclass(hint):
            if hint not in (Config, EvalConfig):  # tests/test_config_bounds.py has these
                yield from numeric_options(hint)
            continue
        hints = [part for part in get_args(hint) if get_origin(part) is tuple] or [hint]
        for kind in {hints[0], *get_args(hints[0])} & {int, float}:
            yield cls, name, kind, get_args(hints[0]).count(kind) if get_origin(hints[0]) is tuple else 0


OPTIONS = list(dict.fromkeys(option for _, cls in COMMANDS.values() for option in numeric_options(cls)))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("cls", "name", "kind", "held"), OPTIONS, ids=str)
def test_every_number_has_a_lower_and_an_upper_bound(cls: type, name: str, kind: type, held: int, sign: int) -> None:
    number = sign * (8 * 10**15 if kind is int else 1e308)
    assert list(broken_bounds((number,) * held or number, annotated_fields(cls)[name]))


def test_data_and_embeddings_have_one_name_in_all_commands() -> None:
    given = ["vlm_film", "--preset", "full", "--data", "images", "--embeddings=vectors.safetensors"]
    config = configured(Train, given, "train")[0].config
    assert (config.data.root, config.embeddings.store) == ("images", "vectors.safetensors")
    again = [*given, "--data.root", "others"]
    assert "--data.root is given twice" in refusal(lambda: configured(Train, again, "train"))
