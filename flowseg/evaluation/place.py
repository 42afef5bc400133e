"""Where an evaluation is written: a run's own scores have one place, every other evaluation another."""

import hashlib
import re
from dataclasses import fields
from pathlib import Path

from flowseg.config import Config, EvalConfig
from flowseg.errors import UserError
from flowseg.runs.folder import Run

FILES = ("metrics.json", "per_image.csv")


def evaluation_folder(run: Run, asked: Config, split: str) -> Path:
    """Returns RUN/eval/SPLIT for the run's own data, embeddings and settings of sampling.

    For any other evaluation the folder's name says what differs: `test-steps-8`, `test-of-arcade-1f0c9a`.

    Args:
        asked: the run's config, with what the evaluation was asked to use.
    """
    own, words = run.config, [split]
    if _path(asked.data.root) != _path(own.data.root):
        words.append(f"of-{_tag(asked.data.root)}")
    if _path(asked.embeddings.store) != _path(own.embeddings.store):
        words.append(f"by-{_tag(asked.embeddings.store)}")
    for field in fields(EvalConfig):
        value = getattr(asked.eval, field.name)
        # How many windows are sampled at once does not change what is sampled.
        if field.name != "window_batch" and value != getattr(own.eval, field.name):
            words.append(f"{field.name}-{value}")
    return run.path / "eval" / "-".join(words)


def check_replaceable(folder: Path) -> None:
    """Raises a UserError if an evaluation may not be written to a folder: it holds something else."""
    if not folder.exists():
        return
    holds = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    if holds and not holds.issuperset(FILES):
        raise UserError(f"--out {folder}: holds something else than an evaluation; choose another folder")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).resolve()


def _tag(text: str | None) -> str:
    """Returns the name of a file or folder, and a few digits of a hash of its path: two may have the same name."""
    path = Path(text or "default").resolve()
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', path.stem)}-{hashlib.blake2b(str(path).encode()).hexdigest()[:6]}"
