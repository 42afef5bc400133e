"""The lock of a run's folder: what it takes for removed, and what for a fault of the file system."""

import errno
import os
from pathlib import Path

import pytest
from made_runs import NARROW
from refusals import refusal

from flowseg.config import Config
from flowseg.config_values import from_dict
from flowseg.runs import folder
from flowseg.runs.folder import Lock, create_run

CONFIG = from_dict(Config, {"model": NARROW})


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ETIMEDOUT])
def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stat = Path.stat

    def failing(path: Path, **how: bool) -> os.stat_result:
        if path.name == "config.json":
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **how)

    with Lock(create_run(tmp_path / "run", CONFIG, None)) as lock:
        lock.check()
        monkeypatch.setattr(Path, "stat", failing)
        with pytest.raises(OSError, match=os.strerror(number)):
            lock.check()


@pytest.mark.parametrize("name", ["config.json", ".lock"])
def test_a_folder_without_its_files_is_removed(tmp_path: Path, name: str) -> None:
    with Lock(create_run(tmp_path / "run", CONFIG, None)) as lock:
        (tmp_path / "run" / name).unlink()
        assert "run: was removed or replaced" in refusal(lock.check)


def test_a_disk_without_locks_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder, "take", no_locks)
    with pytest.raises(OSError, match="No locks available") as caught:
        Lock(create_run(tmp_path / "run", CONFIG, None))
    assert str(caught.value.filename).endswith("run/.lock")
