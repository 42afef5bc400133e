"""A config as plain values: saved as JSON, read again, by dotted names, and what two of them differ in."""

import dataclasses
import json
import typing
from typing import Any, TypeVar

from flowseg.bounds import annotated_fields
from flowseg.config import Config
from flowseg.errors import UserError

T = TypeVar("T")


def to_json(config: Config) -> str:
    """Returns the whole tree as JSON, its fields in order."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_dict(cls: type[T], values: object, path: str = "") -> T:
    """Returns a config or section made of plain values, as read from JSON; absent fields take their defaults.

    Raises:
        UserError: a field that does not exist, or a value that the section refuses; `path` names the section there.
    """
    if not isinstance(values, dict):
        raise UserError(f"{path or 'config'} = {values!r}: expected an object with fields")
    hints, prefix, built = annotated_fields(cls), f"{path}." if path else "", {}
    for name, value in values.items():
        if name not in hints:
            known = ", ".join(hints)
            raise UserError(f"unknown config field {prefix}{name} = {value!r}: remove it, or use one of {known}")
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(typing.cast(type, hints[name]), value, prefix + name)
        built[name] = tuple(value) if isinstance(value, list) else value
    return cls(**built)


def saved_config(values: object) -> Config:
    """Returns the config that a run or checkpoint saved, by this version or an older one.

    What older versions did not have is set to what they did: the Gaussian flow, one crop per image and epoch, and
    masks of which no component is removed.

    Raises:
        UserError: as from `from_dict`.
    """
    older = {
        "flow": {"family": "gaussian", "consistency": 0.0},
        "data": {"crops_per_image": 1},
        "eval": {"min_component": 0},
    }
    if isinstance(values, dict) and all(isinstance(values.get(section), dict) for section in older):
        values = values | {section: fields | values[section] for section, fields in older.items()}
    return from_dict(Config, values)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the values of a config, a section or nested dictionaries by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in (tree if isinstance(tree, dict) else vars(tree)).items():
        nested = isinstance(value, dict) or dataclasses.is_dataclass(value)
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Returns a line 'field: a != b' for every field in which two trees of one type differ."""
    lines = []
    for f in dataclasses.fields(a):
        left, right = getattr(a, f.name), getattr(b, f.name)
        name = f"{path}.{f.name}" if path else f.name
        if dataclasses.is_dataclass(left):
            lines += differences(left, right, name)
        elif left != right:
            lines.append(f"{name}: {left!r} != {right!r}")
    return lines
