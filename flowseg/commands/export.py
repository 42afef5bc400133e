"""`flowseg export`: writes a trained run for use elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from flowseg.bounds import Windows
from flowseg.commands.parsing import default_is, parse
from flowseg.errors import UserError


@dataclass(frozen=True)
class Export:
    """Write a trained run for use elsewhere: in flowseg, in the original PyTorch project, in any JAX program."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The folder of a run or of an exported model."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """What is written; it must not exist."""
    to: Literal["safetensors", "torch", "stablehlo"]
    """safetensors: a folder for the Hugging Face hub, which `flowseg predict` and `flowseg eval` open like a run.
    torch: a checkpoint of the original PyTorch project, which `flowseg import-torch` reads. stablehlo: a folder with
    the sampler as one program, for JAX without flowseg."""
    windows: Annotated[Windows | None, default_is("the run's eval.window_batch")] = None
    """How many windows of an image one call of the program takes (stablehlo)."""


def export(args: list[str]) -> None:
    from flowseg.interop.export_model import write_model
    from flowseg.interop.export_sampler import write_sampler
    from flowseg.interop.export_torch import import_options, write_ckpt
    from flowseg.progress import console
    from flowseg.runs.folder import open_run
    from flowseg.runs.trained import Trained

    parsed = parse(Export, args, "export")
    out = parsed.out
    if out.exists():
        raise UserError(f"{out}: exists already; choose another OUT")
    if parsed.windows is not None and parsed.to != "stablehlo":
        raise UserError(
            f"--windows {parsed.windows}: only a program takes windows; leave it out with --to {parsed.to}"
        )
    trained = Trained.open(open_run(parsed.run))
    try:
        if parsed.to == "safetensors":
            write_model(trained, out)
            told = f"try it with: flowseg predict {out} IMAGE --out masks"
        elif parsed.to == "torch":
            write_ckpt(trained, out)
            told = f"read it again with: flowseg import-torch {out} --out RUN{import_options(trained.run.config)}"
        else:
            write_sampler(trained, out, parsed.windows)
            told = f"{out / 'README.md'} says how to call it"
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); free some space or choose another OUT"
        ) from None
    console.print(f"{parsed.run} (step {trained.step}) is exported to {out}; {told}")
