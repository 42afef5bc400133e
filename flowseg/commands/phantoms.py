"""`flowseg phantoms`: writes a data set of drawn angiograms."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from flowseg.bounds import Bound, Images, Seed
from flowseg.commands.parsing import default_is, parse
from flowseg.errors import UserError

BYTES_PER_PIXEL = 60
"""Of memory that drawing an image takes at least, on each core (measured at 1024 and 2048 pixels)."""


@dataclass(frozen=True)
class Phantoms:
    """Draw a data set of phantom angiograms."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The data set's folder; it must not exist."""
    variant: Literal["plain", "choice"] = "plain"
    """plain draws one vessel tree; choice draws two, and only the image's embedding tells which of them is the target
    (the store of embeddings is written too)."""
    size: Annotated[int, Bound(lambda n: 32 <= n <= 8192, "must lie between 32 and 8192")] = 512
    """Side of the images, in pixels."""
    seed: Seed = 0
    """Different seeds draw different images."""
    train: Annotated[Images | None, default_is("155 (plain), 120 (choice)")] = None
    """Training images."""
    val: Annotated[Images | None, default_is("20 (plain), 16 (choice)")] = None
    """Validation images."""
    test: Annotated[Images | None, default_is("46 (plain), 40 (choice)")] = None
    """Test images."""


def phantoms(args: list[str]) -> None:
    from flowseg.embeddings.choice import STORE_NAME, write_choice_store
    from flowseg.machine import check_memory
    from flowseg.phantoms import angiogram, choice
    from flowseg.progress import console

    parsed = parse(Phantoms, args, "phantoms")
    defaults = angiogram.COUNTS if parsed.variant == "plain" else choice.COUNTS
    given = {"train": parsed.train, "val": parsed.val, "test": parsed.test}
    counts = {split: defaults[split] if number is None else number for split, number in given.items()}

    at_once = min(os.cpu_count() or 1, sum(counts.values()))
    check_memory(at_once * BYTES_PER_PIXEL * parsed.size**2, f"--size {parsed.size}", "draw smaller images")

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
