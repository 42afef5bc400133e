"""Files and folders appear whole or not at all, whatever happened to the processes before."""

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowseg import files
from flowseg.files import parse_json, replaced_file, replaced_folder, sweep, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", ["replaced_file(Path('result'))", "replaced_folder(Path('result'))"])
def test_what_a_killed_process_leaves_is_swept_by_the_next_that_writes_there(tmp_path: Path, write: str) -> None:
    code = f"""
import os, signal
from pathlib import Path
from flowseg.files import replaced_file, replaced_folder
with {write} as part:
    (part / "a" if part.is_dir() else part).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1 and names(tmp_path)[0].startswith(".part-")
    write_text(tmp_path / "other", "whole")
    assert names(tmp_path) == ["other"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "result") as part:
        (part / "a").write_text("half")
        sweep(tmp_path)
        write_text(tmp_path / "result.txt", "other")
    assert (tmp_path / "result" / "a").read_text() == "half"
    assert names(tmp_path) == ["result", "result.txt"]


def test_a_folder_is_put_back_if_the_process_was_killed_while_it_was_replaced(tmp_path: Path) -> None:
    old = tmp_path / ".part-x" / ".old" / "result"
    old.mkdir(parents=True)
    (old / "a").write_text("earlier")
    sweep(tmp_path)
    assert names(tmp_path) == ["result"] and (tmp_path / "result" / "a").read_text() == "earlier"


def test_two_writers_of_one_process_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "result"
    with replaced_file(path) as one, replaced_file(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one" and names(tmp_path) == ["result"]


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_text(path, "whole")
    assert path.read_text() == "whole"


def test_an_error_names_the_file_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    write_text(tmp_path / "result", "earlier")
    with pytest.raises(OSError, match="No space") as caught, replaced_file(tmp_path / "result") as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "result")
    assert (tmp_path / "result").read_text() == "earlier" and names(tmp_path) == ["result"]


def test_a_folder_is_swept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are thousands of files in one folder."""
    for _ in range(2):
        write_text(tmp_path / "result", "whole")
    assert files._sweep_once.cache_info().hits > 0


def test_json_that_is_nested_too_deeply_is_a_value_error_like_all_that_is_no_json() -> None:
    for text in ("[" * 100_000, "[" * 20_000 + "]" * 20_000, "{", "9" * 5000):
        with pytest.raises(ValueError):
            parse_json(text)


@pytest.mark.parametrize("as_read", [str, str.encode])
def test_json_with_half_a_character_is_no_json(as_read: Callable[[str], str | bytes]) -> None:
    assert parse_json(as_read(r'{"name": "\ud83d\ude00 \u00e9 \\ud800"}')) == {"name": "😀 é \\ud800"}
    for text in (r'"\ud800"', r'{"\uDFFF": 1}', r'["\ude00\ud83d"]'):
        with pytest.raises(ValueError):
            parse_json(as_read(text))


def test_a_name_that_is_no_utf8_can_be_written_into_a_text(tmp_path: Path) -> None:
    write_text(tmp_path / "report.html", "é \udcff.png")
    assert (tmp_path / "report.html").read_bytes() == "é \\udcff.png".encode()
