"""Kept traces: the same program without tracing, and never another one's."""

from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from flowseg import software
from flowseg.training import traces as kept

EVERYWHERE = NamedSharding(jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("devices",)), PartitionSpec())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "traces"))
    return tmp_path / "traces"


def run(size: int = 3, identity: str = "a test", power: int = 2) -> tuple[dict[str, np.ndarray], int]:
    """What a program makes of {"x": 0, 1, ...}, and how often it was traced."""
    traces = 0

    def function(state: dict[str, jax.Array], shift: jax.Array) -> dict[str, jax.Array]:
        nonlocal traces
        traces += 1
        return {"x": jnp.sin(state["x"]) ** power + shift}

    arguments = ({"x": np.arange(size, dtype=np.float32)}, np.float32(1))
    made = kept.KeptTrace(
        function,
        identity=identity,
        result=lambda state, shift: state,
        in_shardings=(EVERYWHERE, EVERYWHERE),
        out_sharding=EVERYWHERE,
    )
    made(*arguments)
    result = jax.tree.map(np.asarray, made(*arguments))
    assert made.lowered == 1
    return result, traces


def test_a_kept_trace_gives_the_same_bits_without_tracing(folder: Path) -> None:
    first, traces = run()
    assert traces == 1 and len(list(folder.iterdir())) == 1
    second, traces = run()
    assert traces == 0 and len(list(folder.iterdir())) == 1
    assert first["x"].tobytes() == second["x"].tobytes()
    np.testing.assert_allclose(second["x"], np.sin(np.arange(3)) ** 2 + 1, rtol=1e-6)


def test_nothing_is_kept_without_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kept.VARIABLE, "")
    assert [run()[1], run()[1]] == [1, 1]
    assert not folder.exists()


def test_another_shape_or_identity_is_another_trace(folder: Path) -> None:
    run()
    assert run(size=4)[1] == 1
    assert run(identity="another", power=3)[1] == 1
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("change", ["software", "setting", "nothing"])
def test_changed_software_or_settings_trace_again(folder: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    run()
    if change == "software":
        monkeypatch.setattr(software, "version", lambda name: f"another version of {name}")
        assert software.digest() != software.LOADED
        monkeypatch.setattr(software, "LOADED", software.digest())
    with jax.default_matmul_precision("float32") if change == "setting" else nullcontext():
        assert run()[1] == (change != "nothing")


def test_sources_newer_than_what_runs_are_neither_read_nor_kept_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "step.py").write_text("edited since it was imported\n")
    monkeypatch.setattr(software, "PACKAGE", tmp_path / "package")
    assert [run()[1], run()[1]] == [1, 1] and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "bit"])
def test_a_damaged_file_is_said_and_replaced(folder: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    good, _ = run()
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    again, traces = run()
    assert traces == 1 and again["x"].tobytes() == good["x"].tobytes()
    assert "cannot be read" in capsys.readouterr().out
    assert run()[1] == 0 and len(list(folder.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "file" / "traces"))
    assert run()[1] == 1
    assert "a trace cannot be kept there (Not a directory)" in " ".join(capsys.readouterr().out.split())
