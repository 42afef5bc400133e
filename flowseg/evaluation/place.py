"""Where an evaluation is written: a run's own scores have one place, every other evaluation another."""

import hashlib
import os
import re
from dataclasses import fields
from pathlib import Path

from flowseg.config import EvalConfig
from flowseg.errors import UserError
from flowseg.runs.trained import Trained

FILES = ("metrics.json", "per_image.csv")


def evaluation_folder(trained: Trained, split: str) -> Path:
    """Returns RUN/eval/SPLIT for the run's own data, embeddings and settings of sampling.

    For any other evaluation the folder's name says what differs: `test-steps-8`, `test-of-arcade-1f0c9a`. A run that
    was imported has no data of its own.
    """
    own, asked, words = trained.run.config, trained.config, [split]
    if trained.data_digest is not None:
        for word, given, theirs in (
            ("of", asked.data.root, own.data.root),
            ("by", asked.embeddings.store, own.embeddings.store),
        ):
            if given is not None and (theirs is None or Path(given).resolve() != Path(theirs).resolve()):
                words.append(f"{word}-{_tag(Path(given).resolve())}")
    for field in fields(EvalConfig):
        value = getattr(asked.eval, field.name)
        # How many windows are sampled at once does not change what is sampled, except by adaptive steps.
        counts = field.name != "window_batch" or asked.eval.sampler == "dopri5"
        if counts and value != getattr(own.eval, field.name):
            words.append(f"{field.name}-{value}")
    return trained.run.results / "eval" / "-".join(words)


def make_place(folder: Path) -> Path:
    """Makes the parent of a folder that was asked for, and returns the folder as an absolute path.

    Raises:
        UserError: it cannot be made, or the folder holds something other than an evaluation.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        holds = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
    if holds and not holds.issuperset(FILES):
        raise UserError(f"{folder}: holds something other than an evaluation; choose another --out")
    return folder


def _tag(path: Path) -> str:
    """Returns the name of a file or folder, and a few digits of a hash of its path: two may have the same name."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', path.stem)[:60]}-{hashlib.blake2b(os.fsencode(path)).hexdigest()[:6]}"
