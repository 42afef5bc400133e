"""`flowseg predict`: segments new images with a trained run."""

import re
from dataclasses import dataclass
from pathlib import Path

import tyro

from flowseg.commands.sampling import Sampling, with_run
from flowseg.errors import UserError

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Predict(Sampling):
    """Segment new images with a run.

    Sampling options that are not given keep the run's own settings, whatever default is shown below.
    """

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Images (png, jpg, tif, pgm, bmp, DICOM), or folders of them."""
    out: Path
    """Folder for the masks, probabilities and overlays."""
    frames: str = ALL
    """Frames of DICOM series, counted from 1, for example 3,7,10-14."""


def parse_frames(text: str) -> list[int] | None:
    """Returns the frame numbers of a text such as `3,7,10-14` in ascending order, or None for `all`.

    Raises:
        UserError: anything else.
    """
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
    """Runs `flowseg predict`."""
    from flowseg.evaluation.prediction import predict_images

    parsed, run = with_run(Predict, args, "predict")
    if not parsed.images:
        raise UserError("flowseg predict: no images given; name one or more image files")
    frames = parse_frames(parsed.frames)
    predict_images(
        run, parsed.images, parsed.out, settings=parsed.settings, frames=frames, embeddings=parsed.embeddings
    )
