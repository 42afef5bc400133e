"""The files that users of the page send: where they lie, how large they may be, when they are deleted."""

import secrets
import shutil
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowseg.data.inputs import frames_and_size
from flowseg.errors import UserError

MAX_FILE = 512 * 2**20
"""Bytes of a file: a long uncompressed cine of 16 bits fits."""
MAX_TOTAL = 2 * 2**30
"""Bytes of all files, so that the page cannot fill the disk."""
MAX_SIDE = 4096
"""Pixels along an image's longer side; the time and memory of a segmentation grow with the area."""
MAX_FRAMES = 2000
"""Frames of a file, each a line of the page's list."""
_NAME_BYTES = 200


@dataclass(frozen=True)
class Upload:
    """One file."""

    path: Path
    frames: int
    bytes: int


class Uploads:
    """The uploaded files in a folder, by numbers that cannot be guessed: one user does not find another's files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, Upload] = {}
        self._held = 0

    async def add(self, name: str, content: AsyncIterable[bytes]) -> tuple[str, Upload]:
        """Writes a file, and returns its number and what is known of it without decoding pixels.

        Raises:
            UserError: a name that is no file's, a file that is too large, or one that is no image.
        """
        name = Path(name.replace("\\", "/")).name
        if name in ("", "..") or not name.isprintable() or len(name.encode()) > _NAME_BYTES:
            raise UserError(f"{name[:40]!r}: is no name for an image file; rename it")
        number = secrets.token_urlsafe(16)
        path, size = self.folder / number / name, 0
        path.parent.mkdir()
        try:
            with path.open("wb") as file:
                async for part in content:
                    size += len(part)
                    self._held += len(part)
                    _check_bytes(name, size, self._held)
                    file.write(part)
            frames, shape = frames_and_size(path)
            _check_image(name, frames, shape)
        except BaseException:  # a page that was closed while it sent a file is among them
            self._held -= size
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        self._files[number] = Upload(path, frames, size)
        return number, self._files[number]

    def find(self, number: str) -> Upload:
        """Returns a file by its number; one that is not here is a UserError."""
        if number not in self._files:
            raise UserError("the image is no longer here; give it again")
        return self._files[number]

    def delete(self, numbers: Sequence[str]) -> None:
        """Deletes files; numbers that are not known are ignored."""
        for number in numbers:
            if (upload := self._files.pop(number, None)) is not None:
                shutil.rmtree(upload.path.parent, ignore_errors=True)
                self._held -= upload.bytes


def _check_bytes(name: str, size: int, held: int) -> None:
    if size > MAX_FILE:
        raise UserError(
            f"{name}: is larger than {MAX_FILE // 2**20} MiB, the most that the page takes; cut the series"
        )
    if held > MAX_TOTAL:
        raise UserError(f"{name}: the page already holds {MAX_TOTAL // 2**30} GiB of files; remove some first")


def _check_image(name: str, frames: int, size: tuple[int, int]) -> None:
    h, w = size
    if max(h, w) > MAX_SIDE:
        raise UserError(f"{name}: is {w}x{h} pixels, but the page takes {MAX_SIDE} a side at most; scale it down")
    if frames > MAX_FRAMES:
        raise UserError(f"{name}: has {frames} frames, but the page takes {MAX_FRAMES} at most; cut the series")
