"""The Makefile: names reach the command as they were given, whatever is in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
# Each would be changed or executed by make or the shell, or split into words.
SPECIAL = ["$(touch hit)", "`touch hit`", "$$(touch hit)", "${HOME}", "$b", "$$", "$(shell touch hit)", "$(MAKE)"]
SPECIAL += ['"; touch hit; "', "'; touch hit; '", "; touch hit", "& touch hit", "| touch hit", "> hit", "< hit", "#x"]
SPECIAL += ["two words", "in spaces ", "*", "?", "[a]", "{a,b}", "~", "!x", "\\", "\\n", '"', "'", "%"]
SPECIAL += ["a=b", "é", "血管"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like an installed environment, whose `flowseg` prints its arguments, a line each."""
    folder = tmp_path_factory.mktemp("environment")
    (folder / "bin").mkdir()
    for name in ("python", "flowseg"):
        (folder / "bin" / name).write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        (folder / "bin" / name).chmod(0o755)
    for kind in ("", "-dev", "-vlm"):
        (folder / f".installed{kind}").touch()
    return folder


def made(environment: Path, *arguments: str) -> list[str]:
    """Returns what `make` passed to flowseg."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    call = ["make", "--silent", "-f", str(REPO / "Makefile"), *arguments, f"VENV={environment}"]
    # `make test ARGS=...` leaves its variables in the environment.
    done = subprocess.run(call, cwd=REPO, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", SPECIAL)
def test_names_are_passed_on_as_they_are(environment: Path, name: str) -> None:
    # With PYTHON, make does not start several of them to find the newest that works.
    given = (f"RUN={name}", f"DATA={name}", f"OUT={name}", f"PYTHON={sys.executable}")
    expected = ["eval", name, "--split", "test", "--data", name, "--out", name]
    assert made(environment, "eval", *given) == expected
    assert not (REPO / "hit").exists()


def test_lists_are_split_and_options_follow(environment: Path) -> None:
    given = ("RUN=runs/a", "IMAGES=x.png y.png", "OUT=masks", "ARGS=--steps 4 --tta")
    expected = ["predict", "runs/a", "x.png", "y.png", "--out", "masks", "--steps", "4", "--tta"]
    assert made(environment, "predict", *given) == expected
    report = ["compare", "runs/a", "runs/b", "--out", "report"]
    assert made(environment, "compare", "RUNS=runs/a runs/b", "OUT=report") == report
    campaign = ["-m", "tests.campaign", "--minutes", "3", "--seed", "0", "--kind", "kills"]
    assert made(environment, "campaign", "MINUTES=3", "ARGS=--kind kills") == campaign
    train = ["train", "vlm_film", "--preset", "auto", "--data", "d", "--embeddings", "e", "--resume", "auto"]
    assert made(environment, "train", "DATA=d", "EMBEDDINGS=e", "RESUME=auto") == train
