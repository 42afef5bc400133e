"""`flowseg phantoms`: drawn angiograms as a data set on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from flowseg.commands.parsing import parse
from flowseg.errors import UserError


@dataclass(frozen=True)
class Phantoms:
    """Draw a data set of phantom angiograms."""

    out: tyro.conf.Positional[Path]
    """The data set's folder; it must not exist."""
    variant: Literal["plain", "choice"] = "plain"
    """plain: one vessel tree; choice: two trees, of which the embedding alone tells which one is asked for (its store
    is written beside the images)."""
    size: int = 512
    """Side of the images, pixels."""
    seed: int = 0
    """Another seed draws other images."""
    train: int | None = None
    """Training images; default 155 (plain), 120 (choice)."""
    val: int | None = None
    """Validation images; default 20 (plain), 16 (choice)."""
    test: int | None = None
    """Test images; default 46 (plain), 40 (choice)."""


def phantoms(args: list[str]) -> None:
    """flowseg phantoms"""
    from flowseg.embeddings.choice import STORE_NAME, write_choice_store
    from flowseg.phantoms import angiogram, choice
    from flowseg.progress import console

    parsed = parse(Phantoms, args, "phantoms")
    defaults = angiogram.COUNTS if parsed.variant == "plain" else choice.COUNTS
    given = {"train": parsed.train, "val": parsed.val, "test": parsed.test}
    counts = {split: defaults[split] if number is None else number for split, number in given.items()}
    for name, number in (("size", parsed.size), *counts.items()):
        if number < (32 if name == "size" else 1):
            raise UserError(f"--{name} {number}: is too small; at least {32 if name == 'size' else 1}")
    common: dict[str, Any] = {"seed": parsed.seed, "size": parsed.size, "counts": counts}

    def add_store(folder: Path, keys: list[str], hashes: list[str], bright: list[bool]) -> None:
        write_choice_store(folder / STORE_NAME, keys, hashes, bright, parsed.seed)

    try:
        if parsed.variant == "choice":
            choice.write_choice_phantoms(parsed.out, finish=add_store, **common)
        else:
            angiogram.write_phantoms(parsed.out, **common)
    except OSError as error:
        raise UserError(f"{parsed.out}: cannot be written ({error.strerror}); choose another folder") from None
    console.print(f"{parsed.out}: {', '.join(f'{number} {split}' for split, number in counts.items())} images")
    if parsed.variant == "choice":
        console.print(f"their embeddings: {parsed.out / STORE_NAME}")
