"""`flowseg import-torch`: a run from a checkpoint of the original PyTorch experiment."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from flowseg.commands.parsing import parse
from flowseg.config import FilmPoint


@dataclass(frozen=True)
class ImportTorch:
    """Make a run of a checkpoint of the original PyTorch experiment."""

    checkpoint: tyro.conf.Positional[Path]
    """The original's .ckpt file."""
    out: Path
    """Folder of the run."""
    image_size: int | None = None
    """Side of its training crops; default: as the checkpoint says."""
    full_attention_at: tuple[int, ...] | None = None
    """Sides of its maps with softmax attention; default: as the checkpoint says."""
    film_point: FilmPoint = "after_block1"
    """Where FiLM acts in it."""


def import_torch(args: list[str]) -> None:
    """flowseg import-torch"""
    from flowseg.interop.checkpoint_files import import_run
    from flowseg.progress import console

    parsed = parse(ImportTorch, args, "import-torch")
    run = import_run(
        parsed.checkpoint,
        parsed.out,
        image_size=parsed.image_size,
        full_attention_at=parsed.full_attention_at,
        film_point=parsed.film_point,
    )
    console.print(f"{parsed.checkpoint.name} is now a run: {run.path}; score it with: flowseg eval {run.path}")
