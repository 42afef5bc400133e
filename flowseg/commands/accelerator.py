"""Whether JAX computes on an accelerator; if not although there is a GPU, why, and what to do about it."""

import importlib.util
import logging
import os
import shutil
import subprocess
from functools import cache

from flowseg.errors import pip_install

_LOGGER = "jax._src.xla_bridge"
CUDA_DRIVERS = {"12": 525, "13": 580}
"""The oldest driver that each CUDA release starts on (NVIDIA's release notes)."""


class _Failures(logging.Filter):
    """Keeps why CUDA did not start, where JAX would print a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        text = str(error) if error else record.getMessage()
        about_cuda = "cuda" in f"{record.getMessage()} {text}".lower()
        if about_cuda and record.levelno >= logging.WARNING:
            self.causes.append(text.strip().splitlines()[0])
        return not about_cuda


_failures = _Failures()


def keep_failures() -> None:
    """Keeps why CUDA does not start, for `gpu_unused`, instead of printing JAX's traceback. Before JAX starts."""
    logging.getLogger(_LOGGER).addFilter(_failures)


def has_plugin() -> bool:
    """Returns whether something is installed by which JAX could use more than the CPU; it does not start JAX."""
    return any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def has_accelerator() -> bool:
    """Returns whether JAX computes on something other than the CPU."""
    import jax

    return jax.default_backend() != "cpu"


@cache
def nvidia_gpus() -> tuple[tuple[str, str, str], ...]:
    """Returns name, driver version and memory of each GPU that `nvidia-smi` lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = [line.split(", ") for line in listed.stdout.splitlines()] if listed.returncode == 0 else []
    return tuple((row[0], row[1], row[2]) for row in rows if len(row) == 3)


def gpu_unused() -> str:
    """Returns a line of warning if `nvidia-smi` lists a GPU that JAX does not use, or an empty text."""
    if has_accelerator() or not nvidia_gpus():
        return ""
    name, driver, _ = nvidia_gpus()[0]
    cause, remedy = _why(driver)
    return f"WARNING: nvidia-smi finds a GPU ({name}), but JAX uses the CPU: {cause}; {remedy}\n"


def _why(driver: str) -> tuple[str, str]:
    """Returns cause and remedy of a GPU that JAX does not use."""
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return f"JAX_PLATFORMS is {platforms}", "unset it"
    release = next((r for r in CUDA_DRIVERS if importlib.util.find_spec(f"jax_cuda{r}_plugin")), None)
    if release is None:
        return "JAX is installed without CUDA", f"install it with: {pip_install('flowseg[cuda]')}"
    needed, major = CUDA_DRIVERS[release], driver.partition(".")[0]
    if major.isdigit() and int(major) < needed:
        return f"its driver {driver} is older than CUDA {release} needs", f"update the driver to {needed} or newer"
    cause = _failures.causes[0] if _failures.causes else "CUDA did not start"
    if path := os.environ.get("LD_LIBRARY_PATH"):
        return cause, f"unset LD_LIBRARY_PATH ({path}): it may hold another CUDA"
    return cause, f"install jax[cuda{release}] again; in a container, start it with the NVIDIA runtime (--gpus all)"
