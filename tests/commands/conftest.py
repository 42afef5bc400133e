"""Fixtures that call the command in this process, and check that a refusal is one line and writes nothing."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import BASELINE, Flowseg, Outcome, small, trained_run

from flowseg import cli
from flowseg.config import Config
from flowseg.runs.folder import create_run


@pytest.fixture
def flowseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Flowseg:
    """A function that calls the command in this process, in an empty working folder."""
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
    """A function that calls the command, checks that it refuses and writes nothing, and returns its one line.

    What it keeps in flowseg's cache does not count.
    """

    def written() -> list[Path]:
        return sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "cache"))

    def call(*args: object) -> str:
        before = written()
        outcome = flowseg(*args)
        assert outcome.status == 1
        assert outcome.err.startswith("flowseg: ") and outcome.err.endswith("\n")
        assert outcome.err.count("\n") == 1, outcome.err
        assert "Traceback" not in outcome.err
        assert written() == before
        return outcome.err

    return call


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A run without checkpoints: bad requests must be refused before checkpoints are read."""
    return create_run(tmp_path / "bare", Config(), None).path


@pytest.fixture(scope="session")
def made(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("run") / "tiny", tiny_data)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of a run that a test may write into."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data set that a test may damage."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


@pytest.fixture
def train_on(refused: Callable[..., str], data: Path) -> Callable[..., str]:
    """A function that trains on the damaged data, checks that it is refused, and returns the one line."""
    return lambda *more: refused("train", BASELINE, "--data.root", data, *small(*more))
