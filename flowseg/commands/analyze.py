"""`flowseg analyze film`: reports what the embeddings contribute to a trained run."""

from dataclasses import dataclass
from pathlib import Path

from flowseg.commands.parsing import parse
from flowseg.commands.sampling import OnSplit


@dataclass(frozen=True, kw_only=True)
class AnalyzeFilm(OnSplit):
    """Report what the embeddings contribute to a trained FiLM run."""

    images: int | None = None
    """Number of images, a random choice by the seed; default: all."""
    out: Path | None = None
    """Folder of the report; default: RUN/analysis/film-SPLIT."""
    seed: int = 0
    """Seed for the choice of images, for which other image lends its embedding, and for the bootstrap."""


def analyze_film(args: list[str]) -> None:
    """Runs `flowseg analyze film`."""
    from flowseg.reports import film
    from flowseg.runs.folder import open_run

    parsed = parse(AnalyzeFilm, args, "analyze film")
    film.analyze_film(
        open_run(parsed.run),
        parsed.split,
        data=parsed.data,
        embeddings=parsed.embeddings,
        images=parsed.images,
        out=parsed.out,
        seed=parsed.seed,
    )
