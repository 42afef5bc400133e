"""Reading downloads: folders and archives, and those that are damaged or made to do harm."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from downloads import noise, put
from refusals import refusal

from flowseg.datasets import source
from flowseg.datasets.source import check_total, open_source


def content(root: Path) -> dict[str, bytes]:
    with open_source(root) as files:
        return {file.name: file.read() for file in files}


def refused(root: Path) -> str:
    return refusal(lambda: content(root))


def packed(path: Path, members: dict[str, bytes], **settings: object) -> Path:
    with zipfile.ZipFile(path, "w", **settings) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def with_member(path: Path, kind: bytes, name: str = "a.png", **fields: object) -> Path:
    """A tar archive of one member of a kind."""
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type = kind
        for field, value in fields.items():
            setattr(member, field, value)
        archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def test_folders_and_archives_look_the_same(tmp_path: Path) -> None:
    inside = {"deep/a.png": b"1", "b.ppm": b"2", "c.json": b"3"}
    root = tmp_path / "set"
    for name, data in inside.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    archive = packed(tmp_path / "set.zip", inside, compression=zipfile.ZIP_DEFLATED)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(root, "")
    assert content(root) == content(archive) == content(tmp_path / "set.tar") == inside
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (archive, tmp_path / "set.tar"):
        path.rename(folder / path.name)
    (folder / "b.ppm.gz").write_bytes(gzip.compress(b"4"))
    expected = {f"{top}/{name}": data for top in ("set.tar", "set.zip") for name, data in inside.items()}
    assert content(folder) == {**expected, "b.ppm": b"4"}


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    names = {f"{folder}/a.png": b"" for folder in (".git", "__MACOSX/x", "x/__MACOSX")}
    names |= {"x/._a.png": b"", "Thumbs.db": b"", "notes.txt": b"", "x/a.PNG": b"kept"}
    assert content(packed(tmp_path / "a.zip", names)) == {"x/a.PNG": b"kept"}
    for name, data in names.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "folder" / ".hidden.zip").write_bytes(b"no archive")
    assert content(tmp_path / "folder") == {"x/a.PNG": b"kept"}


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "/etc/a.png", "C:/a.png", "..\\a.png", "notes/../../b.txt"]
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    for archive in (packed(tmp_path / "a.zip", {name: b""}), with_member(tmp_path / "a.tar", tarfile.REGTYPE, name)):
        assert f"{archive}: holds a file with the unsafe name" in refused(archive)


def test_links_are_refused(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.png", noise(1))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").symlink_to(secret)
    assert f"{folder / 'a.png'}: is a link" in refused(folder)
    (folder / "a.png").unlink()
    (folder / "b").symlink_to(tmp_path)
    assert f"{folder / 'b'}: is a link" in refused(folder)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("a.png")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, str(secret))
    assert "a.zip/a.png: is a link" in refused(tmp_path / "a.zip")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        archive_path = with_member(tmp_path / "a.tar", kind, linkname=str(secret))
        assert "a.tar/a.png: is a link or no plain file" in refused(archive_path)


def test_files_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILE", 2**20)
    bomb = b"\0" * (2**20 + 1)
    assert "unpacks to 1 MB" in refused(packed(tmp_path / "a.zip", {"a.png": bomb}, compression=zipfile.ZIP_DEFLATED))
    assert "unpacks to 1 MB" in refused(with_member(tmp_path / "a.tar", tarfile.REGTYPE, size=len(bomb)))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.ppm.gz").write_bytes(gzip.compress(bomb))
    assert "a.ppm.gz: has more than 1 MB" in refused(folder)
    (folder / "a.ppm.gz").write_bytes(b"\0" * (2**20 + 1))
    assert "a.ppm.gz: has more than 1 MB" in refused(folder)
    monkeypatch.setattr(source, "MAX_TOTAL", 5)
    with open_source(packed(tmp_path / "b.zip", {"a.png": b"123", "b.png": b"456"})) as files:
        check_total(files[:1])
        assert "more than" in refusal(lambda: check_total(files))


def test_a_size_that_an_archive_understates_is_not_exceeded(tmp_path: Path) -> None:
    """The reader stops at the size in the directory and finds that the checksum is another."""
    archive = packed(tmp_path / "a.zip", {"a.png": b"\0" * 2**20}, compression=zipfile.ZIP_DEFLATED)
    raw = bytearray(archive.read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    assert "a.zip/a.png: cannot be read" in refused(archive)


def damaged(path: Path) -> Path:
    packed(path, {"a.png": np.random.default_rng(0).bytes(1000)})
    raw = bytearray(path.read_bytes())
    raw[500] ^= 255
    path.write_bytes(raw)
    return path


def encrypted(path: Path) -> Path:
    packed(path, {"a.png": b"1"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    return path


def misnamed(path: Path) -> Path:
    """A name that is said to be UTF-8, and is not."""
    packed(path, {"\u00e4.png": b"1"})
    path.write_bytes(path.read_bytes().replace("\u00e4".encode(), b"\x84\x84"))
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged, "a.zip/a.png: cannot be read"),
        (misnamed, "a.zip: cannot be read as a zip archive ('utf-8' codec can't decode byte 0x84"),
        (encrypted, "a.zip/a.png: is encrypted; unpack a.zip with its password"),
        (lambda path: packed(path, {"a.png": b"1"}, compression=zipfile.ZIP_LZMA), "is not packed by deflate"),
        (lambda path: (path.write_bytes(b"no archive"), path)[1], "is neither a folder nor a zip or tar archive"),
        (lambda path: path / "missing", "no such file or folder"),
    ],
)
def test_archives_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    assert said in refused(make(tmp_path / "a.zip"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_archive_in_a_folder_must_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive" * 100)
    assert f"{tmp_path / name}: cannot be read as a {name[2:]} archive" in refused(tmp_path)
