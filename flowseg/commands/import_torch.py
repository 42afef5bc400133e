"""`flowseg import-torch`: makes a run from a checkpoint of the original PyTorch experiment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from flowseg.bounds import Side
from flowseg.commands.parsing import default_is, parse
from flowseg.config import FilmPoint, TargetKind


@dataclass(frozen=True)
class ImportTorch:
    """Make a run from a checkpoint of the original PyTorch experiment."""

    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")]
    """The original's .ckpt file."""
    out: Path
    """Folder of the run."""
    image_size: Annotated[Side | None, default_is("as stored in the checkpoint")] = None
    """Side of the training crops, in pixels."""
    full_attention_at: Annotated[tuple[Side, ...] | None, default_is("as stored in the checkpoint")] = None
    """Sides of the feature maps with softmax attention."""
    flow: Literal["binary", "gaussian"] = "binary"
    """Flow that the checkpoint was trained by, which its file does not record. The published runs most likely had the
    binary one."""
    target: Annotated[TargetKind | None, default_is("sauna for the Gaussian flow, mask for the binary one")] = None
    """Target map that the checkpoint was trained on, which its file does not record. The maps of a network that was
    trained on SAUNA maps are no probabilities."""
    film_point: FilmPoint = "after_block1"
    """Where in a decoder stage the checkpoint's FiLM modulates the feature map."""


def import_torch(args: list[str]) -> None:
    from flowseg.interop.checkpoint_files import import_run
    from flowseg.progress import console

    parsed = parse(ImportTorch, args, "import-torch")
    run = import_run(
        parsed.checkpoint,
        parsed.out,
        image_size=parsed.image_size,
        full_attention_at=parsed.full_attention_at,
        flow=parsed.flow,
        target=parsed.target,
        film_point=parsed.film_point,
    )
    other = "gaussian" if parsed.flow == "binary" else "binary"
    console.print(f"taken for a checkpoint of the {parsed.flow} flow; if it is not, import it with --flow {other}")
    console.print(f"{parsed.checkpoint.name} is now a run: {run.path}; score it with: flowseg eval {run.path}")
