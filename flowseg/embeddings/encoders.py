"""The encoders that `flowseg embed --encoder` offers. A new encoder needs its own file, its row here, and a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowseg.errors import UserError

if TYPE_CHECKING:
    from flowseg.embeddings.extract import Encoding


@dataclass(frozen=True)
class Options:
    """Options that some encoders take; None stands for the encoder's default."""

    model: str | None = None
    """qwen2.5-vl: the model's folder, or its name in the hub's cache; default Qwen/Qwen2.5-VL-3B-Instruct."""
    features: Literal["image", "prompt", "answers"] | None = None
    """qwen2.5-vl: the averaged vision tokens (default), the last hidden state after a prompt, or the probabilities of
    fixed answers to fixed questions."""
    prompt: str | None = None
    """qwen2.5-vl with --features prompt: the prompt."""
    batch: int | None = None
    """qwen2.5-vl: images per pass through the vision tower; default 1. In larger batches a vector depends on the other
    images by rounding."""
    seed: int | None = None
    """random, constant, shuffled: seed of the random numbers; default 0."""
    width: int | None = None
    """random, constant: numbers per vector; default 2048."""


_LEAST = {"batch": 1, "seed": 0, "width": 1}


@dataclass(frozen=True)
class Request:
    """What an encoder is made for."""

    given: dict[str, Any]
    """The encoder's options that the user has given, by name."""
    argument: str
    """What follows the colon, as FILE in `shuffled:FILE`."""
    files: Mapping[str, Path]
    """All images of the data set by name."""
    data: Path
    """The data set's folder, for messages."""
    skip_bad: bool
    """Whether images that cannot be read are left out."""


@dataclass(frozen=True)
class Row:
    """One encoder."""

    usage: str
    """Its name as it is given to --encoder, with `:ARGUMENT` if it takes one."""
    about: str
    """What its vectors are, for --help."""
    options: tuple[str, ...]
    """The options that it takes."""
    make: Callable[[Request], "Encoding"]


def _image_stats(request: Request) -> "Encoding":
    from flowseg.embeddings.source import ImageStats

    return ImageStats()


def _qwen(request: Request) -> "Encoding":
    from flowseg.embeddings.qwen import Qwen

    return Qwen(**request.given)


def _random(request: Request) -> "Encoding":
    from flowseg.embeddings.controls import Random

    return Random(**request.given)


def _constant(request: Request) -> "Encoding":
    from flowseg.embeddings.controls import Constant

    return Constant(**request.given)


def _shuffled(request: Request) -> "Encoding":
    from flowseg.embeddings.controls import Shuffled
    from flowseg.embeddings.store import EmbeddingStore

    store = EmbeddingStore(Path(request.argument))
    return Shuffled(store, request.files, request.given.get("seed", 0), str(request.data), request.skip_bad)


ENCODERS = (
    Row("image-stats", "fixed statistics of the image", (), _image_stats),
    Row("qwen2.5-vl", "a vision-language model", ("model", "features", "prompt", "batch"), _qwen),
    Row("random", "control: random numbers for each image", ("seed", "width"), _random),
    Row("constant", "control: the same random numbers for all images", ("seed", "width"), _constant),
    Row("shuffled:FILE", "control: the vectors of the store FILE, each for another image", ("seed",), _shuffled),
)
HELP = f"What makes the vectors. {'; '.join(f'{row.usage}: {row.about}' for row in ENCODERS)}."


def make_encoder(
    encoder: str, options: Options, files: Mapping[str, Path], data: Path, skip_bad: bool = False
) -> "Encoding":
    """Returns the encoder that is asked for, ready for work.

    Args:
        encoder: a name of the table, with its argument.
        options: its options.
        files: all images of the data set by name.
        data: the data set's folder, for messages.
        skip_bad: leave out images that cannot be read.

    Raises:
        UserError: no such encoder, an option that it does not take or a value out of range, or whatever making the
            encoder raises.
    """
    name, colon, argument = encoder.partition(":")
    for row in ENCODERS:
        if row.usage.partition(":")[:2] == (name, colon) and bool(argument) == bool(colon):
            break
    else:
        raise UserError(f"--encoder {encoder}: choose one of {', '.join(row.usage for row in ENCODERS)}")
    given = {option: value for option, value in vars(options).items() if value is not None}
    for option, value in given.items():
        if option not in row.options:
            takers = ", ".join(other.usage for other in ENCODERS if option in other.options)
            raise UserError(f"--{option}: {row.usage} takes no such option, only {takers}; leave it out")
        if option in _LEAST and value < _LEAST[option]:
            raise UserError(f"--{option} {value}: give {_LEAST[option]} or more")
    return row.make(Request(given, argument, files, data, skip_bad))
