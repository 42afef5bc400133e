"""Training runs for scripts that compare several; each uses the `flowseg` command and skips a finished run."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def flowseg(*arguments: object) -> None:
    """Runs a command, and exits if it fails."""
    command = [sys.executable, "-m", "flowseg", *map(str, arguments)]
    print("$ flowseg", *arguments, flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def trained(out: Path, config: str, *arguments: object) -> dict[str, Any]:
    """Trains and scores a run in the folder `out`, continuing an interrupted one.

    Returns:
        `test`: metrics.json of the test split; `minutes`: the duration of this call, near 0 for a finished run.
    """
    start = time.monotonic()
    if not (out / "done.json").exists():
        flowseg("train", config, "--out", out, "--resume", "auto", *arguments)
    return {
        "test": json.loads((out / "eval" / "test" / "metrics.json").read_text()),
        "minutes": (time.monotonic() - start) / 60,
    }
