"""Values of a config by the path of their field, and how a config refuses them."""

from typing import Any

import refusals

from flowseg.config import Config
from flowseg.config_values import from_dict


def nested(path: str, value: object) -> dict[str, Any]:
    """Returns {'a': {'b': value}} for the path a.b."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def refusal(values: object) -> str:
    """Returns the message, of one line, with which a config is refused."""
    return refusals.refusal(lambda: from_dict(Config, values))
