"""The folder of a report: free or with an earlier report in it, and replaced whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowseg.errors import UserError
from flowseg.files import replaced_folder

JSON_FILE = "report.json"
"""The numbers of a report; its field `format` says of which kind."""


def check_free(folder: Path, layout: str, command: str) -> None:
    """Raises a UserError unless the folder is absent, empty, or holds an earlier report of the same kind.

    Args:
        layout: the report's `format`.
        command: the command that writes such reports, for the message.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or _holds(folder, layout))):
        raise UserError(f"{folder}: holds something other than a report of `{command}`; choose another --out")


def _holds(folder: Path, layout: str) -> bool:
    return read_json(folder / JSON_FILE).get("format") == layout


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def make_parent(folder: Path) -> None:
    """Makes the parent of a report's folder."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder.parent}: cannot be made ({error.strerror}); choose another --out") from None


@contextmanager
def report_folder(folder: Path) -> Iterator[Path]:
    """Yields a folder to write a report into, which replaces `folder` at the end; after an error nothing changes."""
    try:
        with replaced_folder(folder) as part:
            yield part
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); free some space or choose another --out"
        ) from None
