"""The encoders that `flowseg embed --encoder` offers. A new encoder needs its own file, its row here, and a test."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Literal

from flowseg.bounds import Count, Seed, Width, at_most, check_options
from flowseg.embeddings.checkpoints import LOCAL_FOLDER
from flowseg.errors import UserError

if TYPE_CHECKING:
    from flowseg.embeddings.extract import Encoding
    from flowseg.embeddings.store import Encoder


@dataclass(frozen=True)
class Options:
    """Options that some encoders take; None leaves the choice to the encoder."""

    model: str | None = None
    """qwen2.5-vl: the model's folder, or its name in the hub's cache; None means Qwen/Qwen2.5-VL-3B-Instruct."""
    features: Literal["image", "prompt", "answers"] | None = None
    """qwen2.5-vl: image: the averaged vision tokens; prompt: the last hidden state after a prompt; answers: the
    probabilities of fixed answers to fixed questions. None means image."""
    prompt: str | None = None
    """qwen2.5-vl with --features prompt: the prompt."""
    batch: Annotated[Count, at_most(4096, "memory holds no more")] | None = None
    """qwen2.5-vl: images per pass through the vision tower; None means 1. In larger batches a vector depends on the
    other images by rounding."""
    seed: Seed | None = None
    """random, constant, shuffled: seed of the random numbers; None means 0."""
    width: Width | None = None
    """random, constant: numbers per vector; None means 2048."""


@dataclass(frozen=True)
class Row:
    """One encoder."""

    usage: str
    """Its name as it is given to --encoder, with `:ARGUMENT` if it takes one."""
    about: str
    """What its vectors are, for --help."""
    options: tuple[str, ...]
    """The options that it takes."""
    made_by: str
    """module:class of a flowseg.embeddings.extract.Encoding, imported when it is used. It is called with the given
    options by name and, if it takes an argument, with (ARGUMENT, images by name, the data set's folder, skip_bad)."""


_ROOM = "flowseg.embeddings"
ENCODERS = (
    Row("image-stats", "fixed statistics of the image", (), f"{_ROOM}.source:ImageStats"),
    Row("qwen2.5-vl", "a vision-language model", ("model", "features", "prompt", "batch"), f"{_ROOM}.qwen:Qwen"),
    Row("random", "control: random numbers for each image", ("seed", "width"), f"{_ROOM}.controls:Random"),
    Row("constant", "control: the same numbers for all images", ("seed", "width"), f"{_ROOM}.controls:Constant"),
    Row("shuffled:FILE", "control: each image gets another's from FILE", ("seed",), f"{_ROOM}.controls:Shuffled"),
)
HELP = f"What makes the vectors. {'; '.join(f'{row.usage}: {row.about}' for row in ENCODERS)}."


def chosen(encoder: str, options: Options) -> tuple[Row, dict[str, object]]:
    """Returns the row of the encoder that --encoder asks for, and those of its options that are given, by name.

    Raises:
        UserError: there is no such encoder, it does not take an option, or a value is out of range.
    """
    name, colon, argument = encoder.partition(":")
    for row in ENCODERS:
        if row.usage.partition(":")[:2] == (name, colon) and bool(argument) == bool(colon):
            break
    else:
        raise UserError(f"--encoder {encoder}: choose one of {', '.join(row.usage for row in ENCODERS)}")
    given = {option: value for option, value in vars(options).items() if value is not None}
    check_options(options)
    for option in given:
        if option not in row.options:
            takers = ", ".join(other.usage for other in ENCODERS if option in other.options)
            raise UserError(f"--{option}: {row.usage} takes no such option, only {takers}; leave it out")
    return row, given


def command_for(encoder: "Encoder", data: str, out: Path) -> str:
    """Returns the command that makes a store of an encoder's vectors; what its settings do not say is in capitals."""
    known = {**encoder.settings, "width": encoder.width}
    if encoder.name == "choice":  # made together with its images (flowseg.embeddings.choice)
        return f"flowseg phantoms OUT --variant choice --seed {known.get('seed', 0)}"
    if known.get("model") == LOCAL_FOLDER:
        known["model"] = "FOLDER"
    usage, options = encoder.name, []
    for row in ENCODERS:
        if row.usage.partition(":")[0] == encoder.name:
            usage = row.usage
            options = [f"--{name} {shlex.quote(str(known[name]))}" for name in row.options if name in known]
    return " ".join(["flowseg embed", data, "--encoder", usage, *options, "--out", str(out)])


def make_encoder(encoder: str, options: Options, files: Mapping[str, Path], data: Path, skip_bad: bool) -> "Encoding":
    """Returns the encoder that --encoder and its options ask for.

    Raises:
        UserError: what `chosen` refuses, and whatever making the encoder raises.
    """
    row, given = chosen(encoder, options)
    _, colon, argument = encoder.partition(":")
    make: Callable[..., Encoding] = resolve_name(row.made_by)
    return make(argument, files, data, skip_bad, **given) if colon else make(**given)
