"""Training runs for the scripts that compare some: each by the `flowseg` command, skipped where it is finished."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def flowseg(*arguments: object) -> None:
    """Runs a command; ends the script where it fails."""
    command = [sys.executable, "-m", "flowseg", *map(str, arguments)]
    print("$ flowseg", *arguments, flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def trained(out: Path, config: str, *arguments: object) -> dict[str, Any]:
    """A run in the folder `out`, trained and scored by now: continued where it was interrupted.

    Returns:
        `test`: metrics.json of the test split; `minutes`: of this call, 0 where there was nothing left to do.
    """
    start = time.monotonic()
    if not (out / "done.json").exists():
        flowseg("train", CONFIGS / f"{config}.py", "--out", out, "--resume", "auto", *arguments)
    return {
        "test": json.loads((out / "eval" / "test" / "metrics.json").read_text()),
        "minutes": (time.monotonic() - start) / 60,
    }
