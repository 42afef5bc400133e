"""`flowseg predict`: new images through a trained run."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from flowseg.commands.parsing import parse
from flowseg.errors import UserError

ALL = "all"


@dataclass(frozen=True)
class Predict:
    """Segment new images with a run."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Images (png, jpg, tif, pgm, bmp, DICOM), or folders of them."""
    out: Path
    """Where masks, probabilities and overlays are written."""
    frames: str = ALL
    """Frames of DICOM series, counted from 1, such as 3,7,10-14."""
    ensemble: int = 1
    """Samples per image; with 2 or more also uncertainties. Default: the run's eval.ensemble."""
    tta: bool = False
    """Average over flips and quarter turns. Default: the run's eval.tta."""
    threshold: Literal["fixed", "tuned"] = "fixed"
    """Vessel is what is more probable than 0.5, or than what was tuned on the run's validation images. Default: the
    run's eval.threshold."""
    embeddings: str | None = None
    """A store that holds the images' embeddings; default: the run's own, or image-stats."""


def parse_frames(text: str) -> list[int] | None:
    """The frame numbers of `3,7,10-14`, ascending; None for `all`."""
    if text == ALL:
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last:
            raise UserError(f"--frames {text}: give numbers and ranges, counted from 1, such as 3,7,10-14")
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def predict(args: list[str]) -> None:
    """flowseg predict"""
    from flowseg.inference import predict_images
    from flowseg.runs import open_run

    parsed = parse(Predict, args, "predict")
    if not parsed.images:
        raise UserError("flowseg predict: no images given; name one or more image files")
    frames = parse_frames(parsed.frames)
    run = open_run(parsed.run)
    # Again, with what the run's config says where the command line says nothing.
    own = run.config.eval
    own_defaults = replace(parsed, ensemble=own.ensemble, tta=own.tta, threshold=own.threshold)
    parsed = parse(Predict, args, "predict", default=own_defaults)
    settings = replace(own, ensemble=parsed.ensemble, tta=parsed.tta, threshold=parsed.threshold)
    predict_images(run, parsed.images, parsed.out, settings=settings, frames=frames, embeddings=parsed.embeddings)
