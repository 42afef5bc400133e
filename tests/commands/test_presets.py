"""The banner of the reduced recipe, with its warning of a GPU that JAX does not use."""

from pathlib import Path

import pytest

from flowseg.commands import presets
from flowseg.config import Config


def banner(preset: str) -> str:
    full = Config()
    return presets.banner(full, presets.cpu_preset(full), preset)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake nvidia-smi on PATH that succeeds."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program


def test_a_gpu_that_jax_does_not_use_is_named(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    first, *rest = banner("auto").splitlines()
    assert first.startswith("WARNING: nvidia-smi finds a GPU") and "unset JAX_PLATFORMS=cpu" in first
    monkeypatch.delenv("JAX_PLATFORMS")
    assert "install jax[cuda]" in banner("auto").splitlines()[0]
    why = "Because no accelerator was found: images of at most 192 pixels, 192x192 crops"
    assert len(rest) == 3 and rest[0].startswith(why)
    assert "500 epochs (207,000 steps with 155 images)" in rest[1]


def test_nothing_is_said_of_a_gpu_that_is_not_there_or_not_wanted(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert banner("cpu").startswith("Because --preset cpu: ")
    nvidia_smi.write_text("#!/bin/sh\nexit 9\n")
    assert "nvidia-smi" not in banner("auto")
    monkeypatch.setenv("PATH", "")
    assert "nvidia-smi" not in banner("auto")
    nvidia_smi.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("PATH", str(nvidia_smi.parent))
    monkeypatch.setattr(presets, "has_accelerator", lambda: True)
    assert presets.gpu_unused() == ""
