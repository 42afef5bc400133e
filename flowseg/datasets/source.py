"""The files of a download: in folders, and in zip and tar archives, which are read without being unpacked to disk."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from flowseg.data.image_files import SUFFIXES, no_file
from flowseg.errors import UserError

MAX_FILE = 2**28
"""Bytes of one file after unpacking: ten times the largest file of the supported sets (a label of HRF, 25 MB)."""
MAX_TOTAL = 2**36
"""Bytes of all files that are read: over ten times the largest supported set (FIVES, below 5 GB). The memory needed
is that of one file; this bounds the time that a file made to unpack to terabytes can take."""
_KINDS = (*SUFFIXES, ".json")
_ARCHIVES = (".zip", ".tar")
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_AGAIN = "get it again from its site"
_DAMAGE = (
    OSError,
    EOFError,
    UnicodeError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,
    RuntimeError,
)
"""What the readers of archives raise for damaged ones."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a download."""

    path: Path
    """Where it is, for messages: inside of an archive, the archive's path and the name in it."""
    name: str
    """Its place below the source, with forward slashes and without .gz; an archive counts as a folder."""
    size: int
    """Bytes as stored; of a gzip file, before unpacking."""
    open: Callable[[], IO[bytes]]

    def read(self) -> bytes:
        """Returns the content; a gzip file is unpacked.

        Raises:
            UserError: the file cannot be read or is larger than MAX_FILE.
        """
        try:
            with self.open() as file:
                content = file.read(MAX_FILE + 1)
                if self.path.suffix.lower() == ".gz" and len(content) <= MAX_FILE:
                    with gzip.open(io.BytesIO(content)) as unpacked:
                        content = unpacked.read(MAX_FILE + 1)
        except _DAMAGE as error:
            raise UserError(f"{self.path}: cannot be read ({' '.join(str(error).split())}); {_AGAIN}") from None
        if len(content) > MAX_FILE:
            raise UserError(f"{self.path}: has more than {MAX_FILE >> 20} MB, too many for an image; take it away")
        return content


@contextmanager
def open_source(root: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[list[SourceFile]]:
    """Yields the images and JSON files of a folder or archive whose name is wanted, sorted by name.

    Hidden files are ignored. The files can be read while the context is open.

    Raises:
        UserError: there is no such source, an archive cannot be read or holds a file with an unsafe name, or a wanted
            file is a link, is encrypted or is too large.
    """
    with ExitStack() as stack:
        try:
            if root.is_dir():
                files = list(_folder(root, wanted, stack))
            elif not root.exists():
                raise UserError(f"{root}: no such file or folder; give the downloaded set")
            elif not root.is_file():
                raise no_file(root)
            elif zipfile.is_zipfile(root):
                files = list(_zip(root, "", wanted, stack))
            elif root.suffix.lower() == ".tar":
                files = list(_tar(root, "", wanted, stack))
            else:
                raise UserError(f"{root}: is neither a folder nor a zip or tar archive; unpack it and give the folder")
        except OSError as error:
            raise UserError(f"{error.filename or root}: cannot be read ({error.strerror or error})") from None
        yield sorted(files, key=lambda file: file.name)


def check_total(files: list[SourceFile]) -> None:
    """Raises a UserError if the files have more bytes than MAX_TOTAL."""
    total = sum(file.size for file in files)
    if total > MAX_TOTAL:
        raise UserError(f"the files have {total >> 30} GB, more than {MAX_TOTAL >> 30}; take some away")


def _folder(root: Path, wanted: Callable[[str], bool], stack: ExitStack) -> Iterator[SourceFile]:
    """Yields the files of a folder, of its subfolders, and of the archives among them."""

    def refuse(error: OSError) -> None:
        raise error

    for folder, subfolders, names in os.walk(root, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not _hidden(name)]
        for name in subfolders:
            if (Path(folder) / name).is_symlink():
                raise UserError(f"{Path(folder) / name}: is a link; copy the folder itself here, or take it away")
        for name in names:
            path = Path(folder) / name
            place = path.relative_to(root).as_posix()
            archive = path.suffix.lower() in _ARCHIVES
            if not (archive and not _hidden(name)) and not _is_wanted(place, wanted):
                continue
            if path.is_symlink():
                raise UserError(f"{path}: is a link; copy the file itself here, or take it away")
            if not path.is_file():
                raise no_file(path)
            if archive:
                yield from (_zip if path.suffix.lower() == ".zip" else _tar)(path, place, wanted, stack)
            else:
                yield SourceFile(path, _without_gz(place), path.stat().st_size, partial(_open, path))


def _zip(path: Path, place: str, wanted: Callable[[str], bool], stack: ExitStack) -> Iterator[SourceFile]:
    """Yields the files of a zip archive."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except _DAMAGE as error:
        raise UserError(f"{path}: cannot be read as a zip archive ({error}); {_AGAIN}") from None
    for member in archive.infolist():
        name = _safe(member.filename, path)
        if member.is_dir() or not _is_wanted(f"{place}/{name}", wanted):
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(f"{path / name}: is a link; {_AGAIN}")
        if member.flag_bits & 1:
            raise UserError(f"{path / name}: is encrypted; unpack {path.name} with its password and give the folder")
        if member.compress_type not in _PLAIN:
            raise UserError(f"{path / name}: is not packed by deflate; unpack {path.name} and give the folder")
        _check_size(path / name, member.file_size)
        yield SourceFile(path / name, _without_gz(f"{place}/{name}"), member.file_size, partial(archive.open, member))


def _tar(path: Path, place: str, wanted: Callable[[str], bool], stack: ExitStack) -> Iterator[SourceFile]:
    """Yields the files of an uncompressed tar archive."""
    try:
        archive = stack.enter_context(tarfile.TarFile(path))
        members = archive.getmembers()
    except _DAMAGE as error:
        raise UserError(f"{path}: cannot be read as a tar archive ({error}); {_AGAIN}") from None
    for member in members:
        name = _safe(member.name, path)
        if member.isdir() or not _is_wanted(f"{place}/{name}", wanted):
            continue
        if not member.isreg():
            raise UserError(f"{path / name}: is a link or no plain file; {_AGAIN}")
        _check_size(path / name, member.size)
        yield SourceFile(path / name, _without_gz(f"{place}/{name}"), member.size, partial(_member, archive, member))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    assert file is not None  # it is a plain file
    return file


def _check_size(path: Path, size: int) -> None:
    if size > MAX_FILE:
        raise UserError(
            f"{path}: unpacks to {size >> 20} MB, more than {MAX_FILE >> 20}, too many for an image; {_AGAIN}"
        )


def _safe(name: str, archive: Path) -> str:
    """Returns the name of an archive's member with forward slashes.

    Nothing is unpacked by its name, but an archive with names that would leave its folder is not worth trusting.
    """
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts or ":" in name:
        raise UserError(f"{archive}: holds a file with the unsafe name {name!r}; {_AGAIN}")
    return plain.as_posix()


def _without_gz(place: str) -> str:
    place = place.lstrip("/")
    return place[:-3] if place.lower().endswith(".gz") else place


def _hidden(part: str) -> bool:
    """Whether a file or folder is none of the data set's: hidden, or what macOS puts beside files in archives."""
    return part.startswith(".") or part == "__MACOSX"


def _is_wanted(place: str, wanted: Callable[[str], bool]) -> bool:
    name = _without_gz(place)
    return name.lower().endswith(_KINDS) and not any(map(_hidden, name.split("/"))) and wanted(name)
