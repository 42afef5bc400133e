"""What `main` makes of an error: one line and an exit status."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import BASELINE, Flowseg, small

from flowseg import cli
from flowseg.training import interrupt


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The command `params` raises the error."""

    def call(args: list[str]) -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "params", (call, cli.COMMANDS["params"][1]))


def test_an_unexpected_error_is_one_line_with_the_way_to_a_report(
    flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, TypeError("a\nb"))
    outcome = flowseg("params", BASELINE)
    assert outcome.status == os.EX_SOFTWARE == 70 and outcome.err.count("\n") == 1
    assert outcome.err.startswith("flowseg: unexpected error (TypeError: a b) at flowseg/cli.py, line ")
    assert "--debug" in outcome.err and "CONTRIBUTING.md" in outcome.err


@pytest.mark.parametrize("arguments", [("--debug", "params"), ("params", "--debug")])
def test_debug_shows_the_traceback(
    flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    failing(monkeypatch, TypeError("a"))
    with pytest.raises(TypeError, match="a"):
        flowseg(*arguments, BASELINE)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "choose another folder"), (errno.EIO, "check the path")],
)
def test_what_the_file_system_refuses_is_one_line(
    flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    failing(monkeypatch, OSError(number, os.strerror(number), "a/b.png"))
    outcome = flowseg("params", BASELINE)
    assert outcome.status == 1
    assert (
        outcome.err.startswith(f"flowseg: a/b.png: {os.strerror(number)}; {remedy}") and outcome.err.count("\n") == 1
    )


def test_a_ctrl_c_is_one_line(flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    outcome = flowseg("params", BASELINE)
    assert outcome.status == 130 and outcome.err == "flowseg: stopped\n"


def test_a_ctrl_c_of_which_a_library_makes_another_error_is_one_line(
    flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ValueError("Cache keys should be comparable: KeyboardInterrupt"))
    monkeypatch.setattr(interrupt, "_raised", True)
    outcome = flowseg("params", BASELINE)
    assert outcome.status == 130 and outcome.err == "flowseg: stopped\n"


def test_a_ctrl_c_during_the_imports_is_one_line(tmp_path: Path) -> None:
    # A stand-in for tyro, which the program imports early. Extensions such as NumPy's may make this of a Ctrl-C.
    (tmp_path / "tyro.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    [None for _ in range(1000)]\n"
        "except KeyboardInterrupt:\n    raise ImportError('an extension')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "flowseg"], capture_output=True, text=True, env=environment, check=False
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("flowseg: Ctrl-C: stopping")]
    assert (done.returncode, lines) == (130, ["flowseg: stopped"])


def test_an_argument_that_is_no_text_is_refused(flowseg: Flowseg) -> None:
    outcome = flowseg("params", "\udcff")
    assert outcome.status == 1 and "'\\udcff': is not UTF-8; rename the file or folder" in outcome.err


def test_phantoms_that_the_cache_cannot_hold_are_one_line(
    flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(root: Path, **how: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(root / "a.png"))

    monkeypatch.setattr("flowseg.phantoms.default.write_phantoms", full)
    outcome = flowseg("train", BASELINE, *small())
    assert outcome.status == 1 and outcome.err.count("\n") == 1
    assert (
        f"flowseg: {tmp_path}/cache/phantom-" in outcome.err
        and "name another cache folder by FLOWSEG_CACHE" in outcome.err
    )
