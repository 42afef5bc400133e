"""The `flowseg` command as a separate process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs" / "vlm_film.py"


def test_it_starts_itself_again_with_huge_pages_and_answers() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-m", "flowseg", "params", str(CONFIG), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout)["total"] == 11_649_729


@pytest.mark.parametrize("arguments", [("train", "--help"), ("params", "vlm_film", "--json")])
def test_it_ends_quietly_when_nobody_reads_its_output(arguments: tuple[str, ...]) -> None:
    # The help is longer than what Python holds back, the counts are shorter.
    command = [sys.executable, "-m", "flowseg", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("redirected", "words", "status"),
    [(">&-", ["--version"], 0), ("2>&-", ["params", "nosuch"], 1), ("2>/dev/full", ["nosuch"], 2)],
)
def test_a_stream_that_cannot_be_written_does_not_change_the_status(
    redirected: str, words: list[str], status: int
) -> None:
    command = ["bash", "-c", f'exec "$@" {redirected}', "bash", sys.executable, "-m", "flowseg", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--version"], ["train", "--help"]])
def test_a_full_standard_output_is_one_line_that_names_it(words: list[str], unbuffered: str) -> None:
    """Also where Python still holds the text back, and would fail again at its end."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "flowseg", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    said = "flowseg: standard output: No space left on device; free some space\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_what_libraries_print_to_a_closed_standard_error_is_not_written_into_files(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    program = f"""
import os
from flowseg.commands.startup import open_streams
open_streams()
file = open({str(file)!r}, "w")
os.write(2, b"from a library")
"""
    subprocess.run(["bash", "-c", 'exec "$@" 2>&-', "bash", sys.executable, "-c", program], check=True)
    assert file.read_text() == ""


def test_the_program_imports_little_before_it_holds_a_ctrl_c_back() -> None:
    """Until then Python answers it, with a traceback."""
    program = (
        "import signal, sys; before = set(sys.modules); import flowseg.__main__; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"flowseg", "flowseg.errors", "flowseg.__main__", "collections.abc"}


def test_a_ctrl_c_from_then_on_waits_until_it_is_answered() -> None:
    program = """
import os, signal
from flowseg import __main__
from flowseg.commands import startup
startup.open_streams = lambda: os.kill(os.getpid(), signal.SIGINT)
__main__.run()
"""
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert all(line.startswith("flowseg: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize("words", [("--version",), ("params", "nosuch")])
def test_a_ctrl_c_while_it_exits_ends_it_without_a_traceback(words: tuple[str, ...]) -> None:
    program = """
import atexit, os, signal
atexit.register(lambda: [os.kill(os.getpid(), signal.SIGINT), list(range(9))])
from flowseg.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert all(line.startswith("flowseg: ") for line in done.stderr.splitlines()) and "stopp" not in done.stderr


def test_without_file_locks_one_line_says_why() -> None:
    """Windows has none."""
    program = "import sys; sys.modules['fcntl'] = None; from flowseg.__main__ import run; run()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("flowseg: Windows lacks the file locks") and done.stderr.count("\n") == 1
