"""The embedding store returns what was stored, looked up by content, and names what does not fit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal
from safetensors.numpy import load_file, save_file

from flowseg.embeddings import store as store_module
from flowseg.embeddings.extract import check_writable
from flowseg.embeddings.shards import Shard
from flowseg.embeddings.source import EmbeddingSource
from flowseg.embeddings.store import EmbeddingStore, Encoder, write_store
from flowseg.errors import UserError

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


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n and an image", b""])
def test_what_is_no_store_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "img.png"
    file.write_bytes(content)
    for write in (lambda: write_store(file, ENCODER, KEYS, HASHES, VECTORS), lambda: check_writable(file)):
        assert f"{file}: is there and cannot be read as a store; choose another --out, or remove it" in refusal(write)
    assert file.read_bytes() == content


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


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_store(tmp_path / name, ENCODER, KEYS, HASHES, VECTORS, Shard(1, 1, 4, "d"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def older_store(file: Path, shard: str | None = None, **other: np.ndarray) -> Path:
    """Writes a store as the first versions of this package did: in the library's order, and without digests."""
    tensors = {
        "vectors": VECTORS,
        "hashes": np.frombuffer(bytes.fromhex("".join(HASHES)), np.uint8).reshape(-1, 16),
        "keys": np.frombuffer("\n".join(KEYS).encode(), np.uint8),
        **other,
    }
    metadata = {"format": store_module.FORMAT, "encoder": ENCODER.name, "settings": json.dumps(ENCODER.settings)}
    save_file(tensors, file, metadata | ({"shard": shard} if shard is not None else {}))
    return file


def test_older_stores_are_read_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = EmbeddingStore(older_store(tmp_path / "store"))
    assert (store.encoder, store.shard, store.keys, store.hashes) == (ENCODER, None, KEYS, HASHES)
    np.testing.assert_array_equal(store.vectors(KEYS, HASHES, "data"), VECTORS)
    assert "is of an older flowseg: its vectors have no digests" in " ".join(capsys.readouterr().out.split())


def test_vectors_of_an_older_store_that_are_not_finite_are_named(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[1, 3], vectors[3, 0] = np.nan, -np.inf
    store = EmbeddingStore(older_store(tmp_path / "store", vectors=vectors))
    said = f"{store.path}: 2 of 4 vectors are not finite (train/b, test/ü); make it again with: flowseg embed "
    for use in (lambda: store.vectors(KEYS, HASHES, "data"), lambda: list(store.blocks())):
        assert refusal(use).startswith(said)
    np.testing.assert_array_equal(store.vectors(["train/a"], HASHES[:1], "data"), VECTORS[:1])


def test_no_flipped_bit_goes_unnoticed(path: Path) -> None:
    """In the header, the vectors, the hashes, the names and the digests."""
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 13):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            store = EmbeddingStore(path)
            found = store.vectors(KEYS, HASHES, "data")
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            continue
        # Blanks in the header may become others.
        np.testing.assert_array_equal(found, VECTORS)
        assert (store.encoder, store.keys, store.shard, store.dtype) == (ENCODER, KEYS, None, "F32"), place


def test_damaged_vectors_are_named_wherever_they_are_read(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    whole[start + 2 * 4 * WIDTH] ^= 1  # the lowest bit of a number of the third vector
    path.write_bytes(whole)
    store = EmbeddingStore(path)
    said = f"{path}: 1 of 4 vectors do not match their digests (val/c); make it again with: flowseg embed "
    for use in (lambda: store.vectors(KEYS, HASHES, "data"), lambda: list(store.blocks())):
        assert refusal(use).startswith(said)
    np.testing.assert_array_equal(store.vectors(KEYS[:2], HASHES[:2], "data"), VECTORS[:2])


def test_what_a_shard_lacks_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    write_store(tmp_path / "store", ENCODER, KEYS, HASHES, VECTORS, Shard(2, 3, 12, "d"))
    store = EmbeddingStore(tmp_path / "store")
    assert store.shard == Shard(2, 3, 12, "d")
    assert "it is only shard 2/3 of a data set" in refusal(lambda: store.vectors(["x"], [ABSENT], "data"))


@pytest.mark.parametrize("text", ["no json", "{}", '{"skipped": 1}', '{"skipped": [], "index": 1}'])
def test_a_broken_shard_is_refused(tmp_path: Path, text: str) -> None:
    message = refusal(lambda: EmbeddingStore(older_store(tmp_path / "store", shard=text)))
    assert "cannot be read as an embedding store" in message


def test_other_numbers_of_hashes_or_names_than_of_vectors_are_refused(tmp_path: Path) -> None:
    for name, there in (("fewer", 3), ("more", 5)):
        older_store(tmp_path / name, hashes=np.zeros((there, 16), np.uint8))
        older_store(tmp_path / f"{name} names", keys=np.frombuffer(b"\n" * (there - 1), np.uint8))
    for file in tmp_path.iterdir():
        assert "cannot be read as an embedding store (4 vectors, " in refusal(lambda file=file: EmbeddingStore(file))


def test_rows_are_found_among_hashes_that_share_a_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (500, 16), dtype=np.uint8)
    hashes[:250, :8] = hashes[0, :8]
    names = [row.tobytes().hex() for row in hashes]
    write_store(tmp_path / "store", Encoder("x", {}, 1), names, names, np.arange(500, dtype=np.float32)[:, None])
    store = EmbeddingStore(tmp_path / "store")
    order = rng.permutation(500)
    assert store.rows([names[i] for i in order]) == order.tolist()
    absent = names[0][:16] + "00" * 8  # its first half is in the store, 250 times
    assert store.rows([ABSENT, names[7], absent, names[7]]) == [None, 7, None, 7]
    assert store.rows([]) == []


def test_blocks_are_all_rows_in_order(path: Path) -> None:
    blocks = list(EmbeddingStore(path).blocks(rows=3))
    assert [len(block) for block in blocks] == [3, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), VECTORS)


def test_encoders_that_differ_say_in_what() -> None:
    assert ENCODER.difference(ENCODER) == ""
    assert ENCODER.difference(Encoder("other", ENCODER.settings, WIDTH)) == "encoder some-encoder here, other there"
    assert ENCODER.difference(Encoder(ENCODER.name, ENCODER.settings, 3)) == "width 12 here, 3 there"
    more = Encoder(ENCODER.name, {**ENCODER.settings, "seed": 1}, WIDTH)
    assert ENCODER.difference(more) == "seed None here, 1 there"


QWEN = {"model": "Owner/Tiny", "revision": "0" * 40, "features": "prompt", "prompt": "How many?", "dtype": "float32"}


@pytest.mark.parametrize(
    ("name", "settings", "command"),
    [
        ("shuffled", {"seed": 4, "of": {}}, "embed data --encoder shuffled:FILE --seed 4 --out STORE"),
        ("random", {"seed": 3}, f"embed data --encoder random --seed 3 --width {WIDTH} --out STORE"),
        ("image-stats", {"version": 1}, "embed data --encoder image-stats --out STORE"),
        (
            "qwen2.5-vl",
            QWEN,
            "embed data --encoder qwen2.5-vl --model Owner/Tiny --features prompt --prompt 'How many?' --out STORE",
        ),
        (
            "qwen2.5-vl",
            {"model": "local folder", "features": "image"},
            "embed data --encoder qwen2.5-vl --model FOLDER --features image --out STORE",
        ),
        ("choice", {"seed": 2, "tells": "which"}, "phantoms OUT --variant choice --seed 2"),
    ],
)
def test_the_command_in_a_message_makes_the_same_vectors(
    tmp_path: Path, name: str, settings: dict[str, object], command: str
) -> None:
    write_store(tmp_path / "store", Encoder(name, settings, WIDTH), KEYS, HASHES, VECTORS)
    store = EmbeddingStore(tmp_path / "store")
    told = refusal(lambda: store.vectors(["x"], [ABSENT], "data"))
    assert told.endswith("; make it again with: flowseg " + command.replace("STORE", str(store.path)))


def test_a_large_store_is_not_read_to_look_up_a_few(tmp_path: Path) -> None:
    """Runs benchmarks/store_open.py: a file of 100 MB takes a few megabytes of memory."""
    script = Path(__file__).parents[2] / "benchmarks" / "store_open.py"
    out = tmp_path / "out.json"
    command = [sys.executable, script, "--images", "25000", "--lookups", "20", "--turns", "2", "--out", out]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    content = json.loads(out.read_text())
    assert content["file_bytes"] > 1e8 and content["lookups"] == 20
    assert content["resident_growth_bytes"]["largest"] < 2e7
    assert content["open_s"]["median"] > 0 and content["lookup_s"]["median"] > 0
