"""A GPU that JAX does not use is named with cause and remedy, and no traceback of JAX's is printed."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowseg.commands import accelerator, startup
from flowseg.errors import pip_install


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with an H100 of driver 550, whose JAX computes on the CPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "NVIDIA H100, 550.54, 81559 MiB"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    accelerator.nvidia_gpus.cache_clear()
    yield
    accelerator.nvidia_gpus.cache_clear()


def install(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {f"jax_cuda{release}_plugin": SimpleNamespace()}
    monkeypatch.setattr("importlib.util.find_spec", found.get)


def test_jax_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert accelerator.gpu_unused() == (
        "WARNING: nvidia-smi finds a GPU (NVIDIA H100), but JAX uses the CPU: JAX is installed without CUDA; "
        f"install it with: {pip_install('flowseg[cuda]')}\n"
    )


def test_platforms_that_leave_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS is cpu; unset it" in accelerator.gpu_unused()


def test_an_old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    install("13", monkeypatch)
    assert "its driver 550.54 is older than CUDA 13 needs; update the driver to 580" in accelerator.gpu_unused()
    install("12", monkeypatch)
    assert "driver" not in accelerator.gpu_unused()


def test_jax_s_own_reason_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install("12", monkeypatch)
    monkeypatch.setattr(accelerator, "_failures", accelerator._Failures())
    logger = logging.getLogger(accelerator._LOGGER)
    monkeypatch.setattr(logger, "filters", [])  # a command that another test ran may have set one
    accelerator.keep_failures()
    try:
        raise RuntimeError("Unable to load cuDNN.\nMore lines.")
    except RuntimeError:
        logger.exception("Jax plugin configuration error: jax_plugins.xla_cuda12")
    logger.warning("something else")
    assert caplog.messages == ["something else"]
    line = accelerator.gpu_unused()
    assert "JAX uses the CPU: Unable to load cuDNN.; install jax[cuda12] again" in line and line.count("\n") == 1
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda")
    assert "unset LD_LIBRARY_PATH (/opt/cuda)" in accelerator.gpu_unused()


def test_nothing_is_said_without_a_gpu_or_with_one_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "has_accelerator", lambda: True)
    assert accelerator.gpu_unused() == ""
    monkeypatch.setattr(accelerator, "has_accelerator", lambda: False)
    assert accelerator.gpu_unused() != ""
    accelerator.nvidia_gpus.cache_clear()
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert accelerator.gpu_unused() == ""
    accelerator.nvidia_gpus.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert accelerator.gpu_unused() == ""


@pytest.mark.parametrize("plugin", [False, True])
def test_xla_s_blocks_about_slow_compilations_stay_out_of_the_progress(
    monkeypatch: pytest.MonkeyPatch, plugin: bool
) -> None:
    """Where only a CPU can be used: on a GPU, an error that XLA logs may be all there is."""
    monkeypatch.setattr(startup, "has_plugin", lambda: plugin)
    for name in ("TF_CPP_MIN_LOG_LEVEL", "FLOWSEG_TRACES", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    startup.set_up_jax()
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == (None if plugin else "3")
