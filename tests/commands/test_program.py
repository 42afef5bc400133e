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


def test_without_file_locks_one_line_says_why() -> None:
    """Windows has none."""
    program = "import sys; sys.modules['fcntl'] = None; from flowseg.__main__ import run; run()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("flowseg: Windows lacks the file locks") and done.stderr.count("\n") == 1
