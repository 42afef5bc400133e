"""A sentence of a report before it has a language."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Message:
    """The key of a sentence (flowseg.reports.compare.words), and the values in it."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)
