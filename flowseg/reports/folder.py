"""The folder of a report: free or with an earlier report in it, and replaced whole or not at all."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowseg.errors import UserError
from flowseg.files import as_utf8, parse_json, replaced_folder

JSON_FILE = "report.json"
"""The numbers of a report; its field `format` says of which kind."""


def check_free(folder: Path, layout: str, command: str) -> None:
    """Raises a UserError unless the folder is absent, empty, or holds an earlier report with the `format` layout."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if read_json(folder / JSON_FILE).get("format") != layout:
        raise UserError(f"{folder}: holds something other than a report of `{command}`; choose another --out")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        content = parse_json(path.read_text())
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
def report_folder(folder: Path, summary: dict[str, Any]) -> Iterator[Callable[[Mapping[str, bytes | str]], None]]:
    """Yields a function that adds files by name to a new report, in which report.json is already written.

    The new report replaces `folder` at the end; after an error nothing changes.
    """
    try:
        with replaced_folder(folder) as part:

            def write(files: Mapping[str, bytes | str]) -> None:
                for name, content in files.items():
                    (part / name).parent.mkdir(exist_ok=True)
                    (part / name).write_bytes(content if isinstance(content, bytes) else as_utf8(content))

            write({JSON_FILE: json.dumps(summary, indent=1, allow_nan=False) + "\n"})
            yield write
    except OSError as error:
        what = f"cannot be written ({error.strerror}); free some space or choose another --out"
        raise UserError(f"{folder}: {what}") from None
