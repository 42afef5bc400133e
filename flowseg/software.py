"""The software that a process runs, so that processes can find out whether they run the same."""

import hashlib
import platform
import sys
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "opt_einsum", "ml_dtypes", "jaxtyping")
PACKAGE = Path(__file__).resolve().parent


def digest() -> str:
    """Returns a digest of the code that computes: the source files as they are now, Python, the libraries."""
    made = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        made.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    made.update(repr([sys.version_info[:3], *((name, version(name)) for name in LIBRARIES)]).encode())
    return made.hexdigest()


# Taken at import: later the files may be newer than what was imported.
LOADED = digest()


def facts() -> dict[str, str]:
    """Returns what this process runs, by name: the versions of the libraries and of Python, and the digest of all."""
    return {name: version(name) for name in LIBRARIES} | {"Python": platform.python_version(), "source": LOADED}
