"""Training runs for scripts that compare several; each is trained by the `flowseg` command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from flowseg.files import write_text
from flowseg.runs.provenance import read_starts


def flowseg(*arguments: object) -> None:
    """Runs a command, and exits if it fails."""
    command = [sys.executable, "-m", "flowseg", *map(str, arguments)]
    print("$ flowseg", *arguments, flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def trained(out: Path, config: str, *arguments: object) -> dict[str, Any]:
    """Trains and scores a run in the folder `out`, continuing an interrupted one; a finished one is scored again.

    Exits if the folder holds a run that was begun with other settings: `flowseg train` refuses it.

    Returns:
        `test`: metrics.json of the test split; `minutes`: what all starts took until the run was finished, without
        those that were killed.
    """
    finished, kept = (out / "done.json").exists(), out / "minutes.json"
    flowseg("train", config, "--out", out, "--resume", "auto", *arguments)
    if not finished or not kept.exists():
        minutes = sum(start.get("seconds") or 0.0 for start in read_starts(out)) / 60
        write_text(kept, f"{json.dumps(minutes)}\n")
    return {
        "test": json.loads((out / "eval" / "test" / "metrics.json").read_text()),
        "minutes": json.loads(kept.read_text()),
    }
