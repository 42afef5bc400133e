"""`flowseg phantoms`: writes a data set of drawn angiograms."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from flowseg.bounds import Bound, Count, Natural
from flowseg.commands.parsing import parse
from flowseg.errors import UserError


@dataclass(frozen=True)
class Phantoms:
    """Draw a data set of phantom angiograms."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The data set's folder; it must not exist."""
    variant: Literal["plain", "choice"] = "plain"
    """plain draws one vessel tree; choice draws two, and only the image's embedding tells which of them is the target
    (the store of embeddings is written too)."""
    size: Annotated[int, Bound(lambda n: n >= 32, "must be at least 32")] = 512
    """Side of the images, in pixels."""
    seed: Natural = 0
    """Different seeds draw different images."""
    train: Count | None = None
    """Training images; default: 155 (plain), 120 (choice)."""
    val: Count | None = None
    """Validation images; default: 20 (plain), 16 (choice)."""
    test: Count | None = None
    """Test images; default: 46 (plain), 40 (choice)."""


def phantoms(args: list[str]) -> None:
    from flowseg.embeddings.choice import STORE_NAME, write_choice_store
    from flowseg.phantoms import angiogram, choice
    from flowseg.progress import console

    parsed = parse(Phantoms, args, "phantoms")
    defaults = angiogram.COUNTS if parsed.variant == "plain" else choice.COUNTS
    given = {"train": parsed.train, "val": parsed.val, "test": parsed.test}
    counts = {split: defaults[split] if number is None else number for split, number in given.items()}

    def add_store(folder: Path, keys: list[str], hashes: list[str], bright: list[bool]) -> None:
        write_choice_store(folder / STORE_NAME, keys, hashes, bright, parsed.seed)

    plain = parsed.variant == "plain"
    write = angiogram.write_phantoms if plain else partial(choice.write_choice_phantoms, finish=add_store)
    try:
        write(parsed.out, seed=parsed.seed, size=parsed.size, counts=counts)
    except OSError as error:
        raise UserError(f"{parsed.out}: cannot be written ({error.strerror}); choose another folder") from None
    console.print(f"{parsed.out}: {', '.join(f'{number} {split}' for split, number in counts.items())} images")
    if not plain:
        console.print(f"embeddings: {parsed.out / STORE_NAME}")
