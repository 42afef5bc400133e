"""The phantoms in the cache are those that were drawn, or are drawn anew."""

from functools import partial
from pathlib import Path

import pytest

from flowseg.config import DataConfig
from flowseg.phantoms import default
from flowseg.phantoms.angiogram import write_phantoms


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cached phantoms, few and small."""
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(default, "write_phantoms", partial(write_phantoms, size=96, counts={"train": 2}))
    return default.data_root(DataConfig())


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["cut", "missing", "more", "without digest"])
def test_damaged_phantoms_are_drawn_anew(root: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    before = contents(root)
    image = root / "train" / "image" / "0001.png"
    if damage == "cut":
        image.write_bytes(image.read_bytes()[:-1])
    elif damage == "missing":
        image.unlink()
    elif damage == "more":
        image.with_name("more.png").write_bytes(image.read_bytes())
    else:
        (root / ".digest").unlink()
    capsys.readouterr()
    assert default.data_root(DataConfig()) == root
    assert f"NOTE: {root}: is damaged, or of an older flowseg; its phantoms are drawn anew" in capsys.readouterr().out
    assert contents(root) == before


def test_whole_phantoms_are_not_drawn_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(default, "write_phantoms")
    assert default.data_root(DataConfig()) == root
