"""What a figure was measured on, and writing it down with that."""

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flowseg.files import write_text
from flowseg.runs.provenance import processor_name, source_commit


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system, versions, commit, and how busy the machine was."""
    packages = {}
    for name in ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-image"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": packages,
        "commit": source_commit(),
        "load_average": os.getloadavg(),
    }


def write_results(out: Path, machine: dict[str, Any], **content: Any) -> None:
    """Writes a benchmark's JSON: its command, the machine as described when it started, and what was measured."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps({"command": " ".join(sys.argv), "machine": machine, **content}, indent=1) + "\n")
