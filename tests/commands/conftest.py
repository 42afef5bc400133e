"""The command called in this process, and how it must refuse: one line, exit status 1, nothing written."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import BASELINE, SMALL, Flowseg, Outcome

from flowseg import cli


@pytest.fixture
def flowseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Flowseg:
    """Calls the command in this process, in an empty working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path / "cache"))

    def call(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["flowseg", *map(str, args)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def refused(flowseg: Flowseg, tmp_path: Path) -> Callable[..., str]:
    """Calls the command, which must refuse: returns the one line, after a look that nothing was written."""

    def call(*args: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        outcome = flowseg(*args)
        assert outcome.status == 1
        assert outcome.err.startswith("flowseg: ") and outcome.err.endswith("\n")
        assert outcome.err.count("\n") == 1, outcome.err
        assert "Traceback" not in outcome.err
        assert sorted(tmp_path.rglob("*")) == before
        return outcome.err

    return call


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A data set of one's own to spoil."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture
def train_on(refused: Callable[..., str], data: Path) -> Callable[..., str]:
    """How training on the spoilt data is refused."""
    return lambda *more: refused("train", BASELINE, "--data.root", data, *SMALL, *more)
