"""The folder that pieces of work share: what was asked for, which of them run, and what they print."""

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flowseg.errors import UserError
from flowseg.files import naming, parse_json, take, write_text

_PLAN = "plan.json"
_OWNER = "owner.lock"
_OF_PIECES = (".lock", ".out", ".err")
"""Suffixes of what each piece has in the folder besides its results."""
_COUNTED = re.compile(r"^(?P<what>\S.*?) (?P<done>\d+)/(?P<total>\d+)\b")


@dataclass(frozen=True)
class Seen:
    """How far a piece of work is."""

    done: float
    total: float
    note: str = ""


@dataclass(frozen=True)
class SharedFolder:
    """A folder on storage that all nodes see."""

    path: Path

    @classmethod
    def inside(cls, out: Path) -> "SharedFolder":
        """Returns the folder for pieces whose results end up in a folder."""
        return cls(out / ".cluster")

    @classmethod
    def beside(cls, out: Path) -> "SharedFolder":
        """Returns the folder for pieces whose results end up in a file."""
        return cls(out.with_name(f"{out.name}.cluster"))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Makes the folder and keeps other processes from giving out work in it while the block runs.

        Afterwards it is removed if nothing but this was in it.

        Raises:
            UserError: another process has it.
        """
        own, probe = self.path / _OWNER, self.path / self.token
        folders = [self.path, *(folder for folder in self.path.parents if not folder.exists())]
        with naming(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = own.open("w")
        try:
            with handle:
                try:
                    take(handle)
                except BlockingIOError:
                    reason = "another process gives out work there; wait for it or stop it"
                    raise UserError(f"{self.path}: {reason}") from None
                except OSError:  # a file system without locks
                    pass
                try:
                    with naming(self.path):
                        probe.touch()
                    yield
                finally:
                    with suppress(OSError):
                        probe.unlink()
                        own.unlink()
        finally:
            # A network file system keeps a file that was removed while it was open in its folder until it is closed.
            with suppress(OSError):
                for folder in folders:
                    folder.rmdir()

    @cached_property
    def token(self) -> str:
        """The name of an empty file in the folder while it is claimed. A node without it has another folder there."""
        return f".probe-{secrets.token_hex(8)}"

    def lock(self, piece: str) -> Path:
        """Returns the file that a piece keeps locked while it runs; each start of it adds a line."""
        return self._file(piece, "lock")

    def out(self, piece: str) -> Path:
        """Returns the file of what a piece prints."""
        return self._file(piece, "out")

    def err(self, piece: str) -> Path:
        """Returns the file of what a piece prints as errors."""
        return self._file(piece, "err")

    def _file(self, piece: str, kind: str) -> Path:
        return self.path / f"{piece.replace('/', '--')}.{kind}"

    def forget_starts(self, piece: str) -> None:
        """Empties the list of a piece's starts. The file itself stays: an earlier start may still have it locked."""
        with naming(self.lock(piece)), self.lock(piece).open("w"):
            pass

    def starts(self, piece: str) -> list[str]:
        """Returns the node of each start of a piece."""
        try:
            lines = self.lock(piece).read_text().split("\n")[:-1]
        except OSError:  # a network file system that is about to show it
            return []
        return [line for line in lines if line]

    def printed(self, piece: str) -> Seen | None:
        """Returns how far a piece says it is, in the lines of `flowseg.progress.task`; None: it has said nothing."""
        try:
            with self.out(piece).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - 4096))
                lines = file.read().decode(errors="replace").split("\n")[:-1]
        except OSError:
            return None
        found = next((match for line in reversed(lines) if (match := _COUNTED.match(line))), None)
        return Seen(int(found["done"]), int(found["total"]), found["what"]) if found else None

    def agree(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Writes down what was asked for or, where that was done before, returns what was.

        What another command has asked for counts only if a piece of it has written something.

        Args:
            facts: values by name, as JSON holds them. Names with a leading underscore are choices of the first start,
                which a later one takes over; the others must be the same.

        Raises:
            UserError: the folder holds the work of another command.
        """
        file = self.path / _PLAN
        if not file.exists():
            with naming(file):
                write_text(file, json.dumps(facts, indent=2) + "\n")
            return dict(facts)
        try:
            kept = parse_json(file.read_bytes())
            if not isinstance(kept, dict) or kept.keys() != facts.keys():
                raise ValueError
        except ValueError:
            raise UserError(f"{file}: is damaged; delete {self.path} to begin again") from None
        for name, value in facts.items():
            if not name.startswith("_") and kept[name] != value:
                if self._holds_results():
                    raise UserError(
                        f"{self.path}: holds unfinished work that was begun otherwise ({name} differs); give the same "
                        "command with the same files, choose another --out, or delete the folder"
                    )
                write_text(file, json.dumps(facts, indent=2) + "\n")
                return dict(facts)
        return kept

    def _holds_results(self) -> bool:
        """Returns whether there is any file that a piece has written, besides what it has printed."""
        own = {_PLAN, _OWNER, self.token}
        files = (path for path in self.path.rglob("*") if path.is_file())
        return any(file.name not in own and file.suffix not in _OF_PIECES for file in files)

    def remove(self) -> None:
        """Deletes the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
