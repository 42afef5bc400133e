"""Bounds of config fields and command options, written into their annotations and checked here.

Type checkers and the command line read `lr: Positive` as a float; `broken_bounds` reads the bound in it.
"""

import dataclasses
import inspect
import math
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

import typeguard

from flowseg.errors import UserError


@dataclass(frozen=True)
class Bound:
    """A condition on a value, and what the user is told to do where it does not hold."""

    holds: Callable[[Any], bool]
    remedy: str


def at_most(limit: float, reason: str) -> Bound:
    """Returns an upper bound. Every number has one: far beyond it, memory or a counter fails hours into a run."""
    shown = f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"
    return Bound(lambda x: x <= limit, f"must be at most {shown} ({reason})")


Count = Annotated[int, Bound(lambda n: n >= 1, "must be at least 1")]
Natural = Annotated[int, Bound(lambda n: n >= 0, "must be at least 0")]
Positive = Annotated[float, Bound(lambda x: x > 0, "must be positive")]
NotNegative = Annotated[float, Bound(lambda x: x >= 0, "must not be negative")]
Seed = Annotated[int, Bound(lambda n: 0 <= n < 2**31, "must lie between 0 and 2147483647")]
Images = Annotated[Count, at_most(1_000_000, "no folder of files holds more in practice")]
Width = Annotated[Count, at_most(65_536, "far wider than any encoder's vectors")]
FileName = Annotated[
    str,
    # Path("..").name is "..".
    Bound(lambda name: name not in ("", "..") and Path(name).name == name, "must be a plain file name"),
    Bound(lambda name: name.isprintable() and len(name.encode()) <= 200, "must be printable, of at most 200 bytes"),
]
FoldName = Annotated[
    str,
    Bound(
        lambda fold: (
            re.fullmatch(r"[1-9]\d{0,2}/[1-9]\d{0,2}", fold) is not None
            and 1 < int(fold.split("/")[1]) >= int(fold.split("/")[0])
        ),
        "write which fold of how many, for example 2/5",
    ),
]
Windows = Annotated[Count, at_most(65_536, "memory holds no more")]
Weight = Annotated[NotNegative, at_most(1000, "nothing else in the loss would count")]
Rate = Annotated[Positive, at_most(100, "training diverges far below")]
MOST_STEPS = 2**31 - 1
Steps = Annotated[Count, at_most(MOST_STEPS, "steps are counted in 32 bits")]
MOST_EPOCHS = 1_000_000
Epochs = Annotated[Count, at_most(MOST_EPOCHS, "2,000 times the published number")]
Batch = Annotated[Count, at_most(65_536, "10,000 times the published batch")]
Factor = Annotated[float, Bound(lambda x: 0.01 <= x <= 100, "must lie between 0.01 and 100 (beyond, nothing is left)")]
Range = Annotated[tuple[Factor, Factor], Bound(lambda pair: pair[0] <= pair[1], "give the smaller number first")]
Side = Annotated[Count, at_most(65_536, "far beyond the images that flowseg is for")]


def broken_bounds(value: Any, hint: Any) -> Iterator[Bound]:
    """Yields the bounds in an annotated type that a value of that type breaks.

    Bounds may stand inside `X | None`, where they do not apply to None, and inside a tuple type, for its elements.
    """
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        yield from broken_bounds(value, args[0])
        yield from (bound for bound in args[1:] if isinstance(bound, Bound) and not bound.holds(value))
    elif get_origin(hint) in (Union, UnionType) and value is not None:
        for arg in args:
            yield from broken_bounds(value, arg)
    elif get_origin(hint) is tuple:
        for i, element in enumerate(value):
            yield from broken_bounds(element, args[0] if args[-1] is Ellipsis else args[i])


def annotated_fields(cls: type) -> dict[str, Any]:
    """Returns the types of a dataclass's fields by name, with the bounds in them."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def check_options(options: Any) -> None:
    """Raises a UserError for the first option, a field of a command's dataclass, that is out of its bounds."""
    for name, hint in annotated_fields(type(options)).items():
        for bound in broken_bounds(getattr(options, name), hint):
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: {bound.remedy}")


def require(holds: bool, what: str, remedy: str) -> None:
    """Raises a UserError, 'what: remedy', unless the condition holds."""
    if not holds:
        raise UserError(f"{what}: {remedy}")


class Section:
    """A part of the config tree; `class Part(Section, path="model.part")` is called model.part in messages."""

    path: ClassVar[str]

    def __init_subclass__(cls, path: str = "") -> None:
        cls.path = path

    def __post_init__(self) -> None:
        """Raises a UserError for the first field of a wrong type, not finite, or out of its bounds."""
        plain = typing.get_type_hints(type(self))  # without bounds
        for name, hint in annotated_fields(type(self)).items():
            value = getattr(self, name)
            what = f"{self.path}.{name} = {value!r}".lstrip(".")
            numbers = value if isinstance(value, tuple) else (value,)
            # Infinity would keep most bounds, and Python counts True as an int.
            require(not any(isinstance(x, float) and not math.isfinite(x) for x in numbers), what, "must be finite")
            try:
                typeguard.check_type(value, hint)
                fits = plain[name] is bool or not any(isinstance(x, bool) for x in numbers)
            except typeguard.TypeCheckError:
                fits = False
            expected = re.sub(r"Optional\[(.*)\]", r"\1 | None", inspect.formatannotation(plain[name]))
            require(fits, what, f"expected {expected}")
            for bound in broken_bounds(value, hint):
                raise UserError(f"{what}: {bound.remedy}")
