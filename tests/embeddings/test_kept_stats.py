"""Kept image-stats vectors are those that would be computed; damaged ones are computed again, and it is said."""

from pathlib import Path

import numpy as np
import pytest
from made_data import make_data

from flowseg.data.image_files import read_image
from flowseg.embeddings import image_stats, kept_stats, source
from flowseg.embeddings.source import EmbeddingSource, describe_images


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "image-stats"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return sorted(make_data(tmp_path / "data", counts={"train": 3, "val": 0, "test": 0}).glob("train/image/*"))


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each vector that is computed."""
    calls: list[int] = []
    describe = image_stats.describe

    def counted(image: np.ndarray) -> np.ndarray:
        calls.append(1)
        return describe(image)

    monkeypatch.setattr(source.image_stats, "describe", counted)
    return calls


def vectors(files: list[Path]) -> np.ndarray:
    advanced: list[int] = []
    hashes = [read_image(file)[1] for file in files]
    found = EmbeddingSource(None, 2048).vectors(hashes, files, hashes, "DATA", lambda: advanced.append(1))
    assert len(advanced) == len(files)
    return found


def test_they_are_computed_once_and_the_same(cache: Path, files: list[Path], described: list[int]) -> None:
    """Also in another order, beside images that are new, and under other file names."""
    hashes, expected = describe_images(files)
    described.clear()
    assert vectors(files[:2]).tobytes() == expected[:2].tobytes() and len(described) == 2
    assert sorted(file.name for file in cache.glob("*/*")) == sorted(hashes[:2])
    moved = files[0].rename(files[0].with_name("moved.png"))
    found = vectors([files[2], moved, files[1]])
    assert found.tobytes() == expected[[2, 0, 1]].tobytes() and found.dtype == np.float32
    assert len(described) == 3


def test_damaged_ones_are_computed_again_with_a_note(
    cache: Path, files: list[Path], described: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = vectors(files)
    assert capsys.readouterr().out == ""
    changed, cut, exchanged = sorted(cache.glob("*/*"))
    good = exchanged.read_bytes()
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x07")
    cut.write_bytes(good[:100])
    exchanged.write_bytes(changed.read_bytes())
    described.clear()
    assert vectors(files).tobytes() == expected.tobytes() and len(described) == 3
    assert "3 damaged (" in capsys.readouterr().out
    assert exchanged.read_bytes() == good
    vectors(files)
    assert len(described) == 3 and capsys.readouterr().out == ""


def test_a_vector_of_another_image_is_damaged(cache: Path, files: list[Path], described: list[int]) -> None:
    expected = vectors(files)
    one, other, _ = sorted(cache.glob("*/*"))
    one.write_bytes(other.read_bytes())
    described.clear()
    assert vectors(files).tobytes() == expected.tobytes() and len(described) == 1


def test_other_software_computes_its_own(
    cache: Path, files: list[Path], described: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors(files)
    monkeypatch.setattr(kept_stats, "version", lambda name: "other")
    kept_stats._software.cache_clear()
    vectors(files)
    kept_stats._software.cache_clear()
    assert len(described) == 6 and len(list(cache.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_told_once(
    cache: Path, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    cache.parent.write_text("a file")
    assert vectors(files).tobytes() == describe_images(files)[1].tobytes()
    told = capsys.readouterr().out
    assert told.count("NOTE") == 1 and "cannot be kept there (Not a directory)" in " ".join(told.split())
