"""The embedding store: what goes in comes out, found by content; what does not fit is named."""

from pathlib import Path

import numpy as np
import pytest
from refusals import refusal
from safetensors.numpy import load_file, save_file

from flowseg.embeddings import store as store_module
from flowseg.embeddings.source import EmbeddingSource
from flowseg.embeddings.store import EmbeddingStore, Encoder, write_store

WIDTH = 12
ENCODER = Encoder("some-encoder", {"version": 3, "size": 448, "name": "ä"}, WIDTH)
KEYS = ["train/a", "train/b", "val/c", "test/ü"]
HASHES = [bytes(range(i, i + 16)).hex() for i in range(len(KEYS))]
VECTORS = np.random.default_rng(0).standard_normal((len(KEYS), WIDTH)).astype(np.float32)
ABSENT = "ff" * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "store.safetensors"
    write_store(file, ENCODER, KEYS, HASHES, VECTORS)
    return file


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_round_trip(tmp_path: Path, dtype: type) -> None:
    vectors = VECTORS.astype(dtype)
    file = tmp_path / "new" / "folder" / "store"
    write_store(file, ENCODER, KEYS, HASHES, vectors)
    opened = EmbeddingStore(file)
    assert opened.encoder == ENCODER and len(opened) == len(KEYS)
    found = opened.vectors(KEYS, HASHES, "data")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors.astype(np.float32))
    assert load_file(file)["vectors"].dtype == dtype
    assert list(file.parent.iterdir()) == [file]


def test_vectors_that_are_a_view_are_stored_in_order(tmp_path: Path) -> None:
    write_store(tmp_path / "store", ENCODER, KEYS, HASHES, np.asfortranarray(VECTORS)[::-1][::-1])
    np.testing.assert_array_equal(EmbeddingStore(tmp_path / "store").vectors(KEYS, HASHES, "data"), VECTORS)


def test_images_are_found_by_content_whatever_they_are_called(path: Path) -> None:
    order = [2, 0, 3, 0]
    found = EmbeddingStore(path).vectors(["x", "train/b", "y", "z"], [HASHES[i] for i in order], "data")
    np.testing.assert_array_equal(found, VECTORS[order])


def test_missing_images_are_named(path: Path) -> None:
    store = EmbeddingStore(path)
    message = refusal(lambda: store.vectors(["train/a", "new/1"], [HASHES[0], ABSENT], "my/data"))
    assert f"{path}: 1 of 2 images are not in it (new/1)" in message
    assert f"flowseg embed my/data --encoder some-encoder --out {path}" in message


def test_many_missing_images_are_counted(path: Path) -> None:
    keys = [f"new/{i}" for i in range(9)]
    hashes = [f"{i:02x}" * 16 for i in range(200, 209)]
    message = refusal(lambda: EmbeddingStore(path).vectors(keys, hashes, "data"))
    assert "9 of 9 images are not in it (new/0, new/1, new/2 and 6 more)" in message


def test_stale_images_are_named(path: Path) -> None:
    message = refusal(lambda: EmbeddingStore(path).vectors(KEYS, [HASHES[0], ABSENT, *HASHES[2:]], "data"))
    assert "1 of 4 images were changed after it was made (train/b)" in message


@pytest.mark.parametrize("content", [b"", b"{}", b"\x89PNG\r\n\x1a\n", b"\xff" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert str(file) in refusal(lambda: EmbeddingStore(file))


def test_other_safetensors_are_refused(tmp_path: Path) -> None:
    for name, metadata in (("a", None), ("b", {"format": "pt"}), ("c", {"format": "flowseg-embeddings-0"})):
        save_file({"vectors": VECTORS}, tmp_path / name, metadata)
        assert "not a flowseg embedding store" in refusal(lambda name=name: EmbeddingStore(tmp_path / name))


def test_a_store_cut_short_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])
    assert f"{path}: cannot be read as an embedding store" in refusal(lambda: EmbeddingStore(path))


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "gone", tmp_path):
        message = refusal(lambda place=place: EmbeddingStore(place))
        assert f"{place}: no such embedding store" in message and f"--out {place}" in message


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "save_file", full_disk)
    file = tmp_path / "store"
    assert "No space left" in refusal(lambda: write_store(file, ENCODER, KEYS, HASHES, VECTORS))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def broken(tensors: object, path: Path, metadata: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store_module, "save_file", broken)
    refusal(lambda: write_store(path, ENCODER, KEYS, HASHES, VECTORS + 1))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    file = tmp_path / "file" / "store"
    assert f"{file}: cannot be written" in refusal(lambda: write_store(file, ENCODER, KEYS, HASHES, VECTORS))


def test_a_store_is_replaced_as_a_whole(path: Path) -> None:
    write_store(path, ENCODER, KEYS[:1], HASHES[1:2], VECTORS[1:2])
    opened = EmbeddingStore(path)
    assert len(opened) == 1
    np.testing.assert_array_equal(opened.vectors(["x"], HASHES[1:2], "data"), VECTORS[1:2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    vectors = VECTORS.copy()
    vectors[1, 3] = value
    message = refusal(lambda: write_store(tmp_path / "store", ENCODER, KEYS, HASHES, vectors))
    assert message.startswith("train/b: ") and list(tmp_path.iterdir()) == []


def test_a_name_with_a_line_feed_is_refused(tmp_path: Path) -> None:
    keys = ["train/a\nb", *KEYS[1:]]
    assert "line feed" in refusal(lambda: write_store(tmp_path / "store", ENCODER, keys, HASHES, VECTORS))


def test_arrays_that_do_not_fit_are_the_caller_s_mistake(tmp_path: Path) -> None:
    for keys, hashes, vectors in (
        (KEYS[1:], HASHES, VECTORS),
        (KEYS, HASHES[1:], VECTORS),
        (KEYS, HASHES, VECTORS[:, 1:]),
    ):
        with pytest.raises(ValueError, match="width 12"):
            write_store(tmp_path / "store", ENCODER, keys, hashes, vectors)


def test_a_source_checks_the_width(path: Path) -> None:
    assert EmbeddingSource(str(path), WIDTH).encoder == ENCODER
    message = refusal(lambda: EmbeddingSource(str(path), 2048))
    assert "model.film.embedding_width = 2048" in message and str(path) in message and "12" in message
    assert EmbeddingSource(None, 2048).encoder.name == "image-stats"
    refusal(lambda: EmbeddingSource(None, WIDTH))
