"""Where a run comes from."""

import shutil
import sys
from pathlib import Path

import pytest

import flowseg
from flowseg.runs.provenance import STARTS_FILE, read_starts, recorded


def test_each_start_says_its_command_and_how_long_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/flowseg", "train", "vlm_film", "--out", "two words"])
    with recorded(tmp_path, "1 x cpu"):
        pass
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, "1 x cpu"):
        raise KeyboardInterrupt
    starts = read_starts(tmp_path)
    assert [start["command"] for start in starts] == ["flowseg train vlm_film --out 'two words'"] * 2
    assert all(start["seconds"] >= 0 and start["flowseg"] == flowseg.__version__ for start in starts)


def test_a_killed_start_has_no_end_and_damaged_lines_are_left_out(tmp_path: Path) -> None:
    assert read_starts(tmp_path) == []
    with recorded(tmp_path, "1 x cpu"):
        pass
    started = (tmp_path / STARTS_FILE).read_text().splitlines()[0]
    with (tmp_path / STARTS_FILE).open("ab") as file:
        file.write(started.encode() + b'\n[1]\n"end"\n\xff\xfe\n{"event": "sta')
    first, killed = read_starts(tmp_path)
    assert "seconds" in first and "seconds" not in killed


def test_what_ended_a_run_is_not_hidden_by_a_line_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path / "run", "1 x cpu"):
        shutil.rmtree(tmp_path / "run")
        raise KeyboardInterrupt
