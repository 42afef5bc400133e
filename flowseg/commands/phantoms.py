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
    from flowseg.phantoms import angiogram, choice
    from flowseg.progress import console, task

    parsed = parse(Phantoms, args, "phantoms")
    if parsed.out.exists():
        raise UserError(f"{parsed.out}: exists already; choose another folder, or remove it")
    defaults = angiogram.COUNTS if parsed.variant == "plain" else choice.COUNTS
    given = {"train": parsed.train, "val": parsed.val, "test": parsed.test}
    counts = {split: defaults[split] if number is None else number for split, number in given.items()}
    for name, number in (("size", parsed.size), *counts.items()):
        if number < (32 if name == "size" else 1):
            raise UserError(f"--{name} {number}: is too small; at least {32 if name == 'size' else 1}")
    common: dict[str, Any] = {"seed": parsed.seed, "size": parsed.size, "counts": counts}
    store = None
    try:
        with task("phantoms", sum(counts.values())) as advance:
            common["on_image"] = lambda done, total: advance()
            if parsed.variant == "choice":
                store = choice.write_choice_phantoms(parsed.out, **common)
            else:
                angiogram.write_phantoms(parsed.out, **common)
    except OSError as error:
        raise UserError(f"{parsed.out}: cannot be written ({error.strerror}); choose another folder") from None
    console.print(f"{parsed.out}: {', '.join(f'{number} {split}' for split, number in counts.items())} images")
    if store is not None:
        console.print(f"their embeddings: {store}")
