"""Merging shards gives the same file as a single run; shards that do not fit together are refused by name."""

import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from encoders import Counting, run, write_images
from refusals import refusal

from flowseg.embeddings.merge import merge
from flowseg.embeddings.shards import Shard, from_json, parse_shard, shard_of, to_json
from flowseg.embeddings.source import ImageStats
from flowseg.embeddings.store import EmbeddingStore, Encoder, write_store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data", 8)


@pytest.fixture
def shards(data: Path, tmp_path: Path) -> list[Path]:
    """Three shards of eight images."""
    paths = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for i, path in enumerate(paths, 1):
        run(data, Counting(batch=2), path, i, 3)
    return paths


def test_shards_split_a_list_by_turns() -> None:
    places = [list(Shard(i, 3, 8, "").places()) for i in (1, 2, 3)]
    assert places == [[0, 3, 6], [1, 4, 7], [2, 5]]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_shards_that_are_none_are_refused(text: str) -> None:
    assert f"--shard {text}" in refusal(lambda: parse_shard(text))


def test_more_shards_than_images_are_refused(data: Path) -> None:
    from flowseg.embeddings.images import find_images

    assert "only 8 images" in refusal(lambda: shard_of(find_images(data), 1, 9))


def test_a_shard_survives_its_json() -> None:
    shard = Shard(2, 3, 8, "ab", ((4, "train/ü"),))
    assert from_json(to_json(shard)) == shard


def test_any_order_of_shards_gives_the_unsharded_file(data: Path, shards: list[Path], tmp_path: Path) -> None:
    run(data, Counting(batch=2), tmp_path / "whole")
    for order in permutations(shards):
        assert merge(order, tmp_path / "merged") == (8, [])
        assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_image_stats_too(data: Path, tmp_path: Path) -> None:
    run(data, ImageStats(), tmp_path / "whole")
    for i in (1, 2):
        run(data, ImageStats(), tmp_path / f"part{i}", i, 2)
    merge([tmp_path / "part1", tmp_path / "part2"], tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_half_precision_stays(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
    hashes = [bytes([i] * 16).hex() for i in range(3)]
    for i in (1, 2):
        rows = slice(i - 1, None, 2)
        shard = Shard(i, 2, 3, "d")
        write_store(tmp_path / str(i), Encoder("x", {}, 2), list("abc")[rows], hashes[rows], vectors[rows], shard)
    merge([tmp_path / "2", tmp_path / "1"], tmp_path / "merged")
    store = EmbeddingStore(tmp_path / "merged")
    assert store.dtype == "F16" and store.keys == ["a", "b", "c"] and store.hashes == hashes
    np.testing.assert_array_equal(store.read(range(3)), vectors)


def test_a_missing_shard_is_named(shards: list[Path], tmp_path: Path) -> None:
    assert "missing 2/3" in refusal(lambda: merge([shards[0], shards[2]], tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_the_same_shard_twice_is_named(shards: list[Path], tmp_path: Path) -> None:
    shutil.copy(shards[1], tmp_path / "copy")
    message = refusal(lambda: merge([*shards, tmp_path / "copy"], tmp_path / "merged"))
    assert str(shards[1]) in message and f"{tmp_path}/copy" in message and "both are shard 2/3" in message


def test_an_image_in_two_shards_is_named(tmp_path: Path) -> None:
    for i in (1, 2):
        hashes = [bytes([i] * 16).hex()]
        write_store(
            tmp_path / str(i), Encoder("x", {}, 2), ["same"], hashes, np.ones((1, 2), np.float32), Shard(i, 2, 2, "d")
        )
    assert "same: is in two" in refusal(lambda: merge([tmp_path / "1", tmp_path / "2"], tmp_path / "merged"))


def _other_encoder(data: Path, path: Path) -> None:
    run(data, Counting(version=2), path, 2, 3)


def _other_data(data: Path, path: Path) -> None:
    run(write_images(path.parent / "more", 9), Counting(), path, 2, 3)


def _changed_data(data: Path, path: Path) -> None:
    (data / "a00.png").write_bytes((data / "a00.png").read_bytes() + b"longer")
    run(data, Counting(), path, 2, 3)


def _other_count(data: Path, path: Path) -> None:
    run(data, Counting(), path, 2, 2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_other_encoder, "different encoders (version 1 here, 2 there)"),
        (_other_data, "different data sets"),
        (_changed_data, "different data sets"),
        (_other_count, "shard 1/3 and shard 2/2"),
    ],
)
def test_shards_that_do_not_belong_together_are_named(
    data: Path, shards: list[Path], tmp_path: Path, make: Callable[[Path, Path], None], said: str
) -> None:
    make(data, tmp_path / "odd")
    message = refusal(lambda: merge([shards[0], tmp_path / "odd", shards[2]], tmp_path / "merged"))
    assert said in message and str(shards[0]) in message and f"{tmp_path}/odd" in message
    assert not (tmp_path / "merged").exists()


def test_a_damaged_vector_in_a_shard_is_named(shards: list[Path], tmp_path: Path) -> None:
    whole = bytearray(shards[1].read_bytes())
    whole[8 + int.from_bytes(whole[:8], "little")] ^= 1
    shards[1].write_bytes(whole)
    message = refusal(lambda: merge(shards, tmp_path / "merged"))
    assert message.startswith(f"{shards[1]}: 1 of 3 vectors do not match their digests (a01); ")
    assert not (tmp_path / "merged").exists()


def test_a_shard_that_lost_an_image_is_named(shards: list[Path], tmp_path: Path) -> None:
    store = EmbeddingStore(shards[0])
    write_store(shards[0], store.encoder, store.keys[1:], store.hashes[1:], store.read([1, 2]), store.shard)
    message = refusal(lambda: merge(shards, tmp_path / "merged"))
    assert f"{shards[0]}: holds 2 of its 3 images" in message


def test_skipped_images_are_a_hole_unless_accepted(data: Path, tmp_path: Path) -> None:
    for name in ("a04", "a06"):  # in shards 2 and 1
        (data / f"{name}.png").write_bytes(b"no picture")
    run(data, Counting(), tmp_path / "whole", skip_bad=True)
    paths = [tmp_path / f"part{i}" for i in (1, 2, 3)]
    for i, path in enumerate(paths, 1):
        run(data, Counting(), path, i, 3, skip_bad=True)
    message = refusal(lambda: merge(paths, tmp_path / "merged"))
    assert f"{paths[0]}: lacks the images a06" in message
    assert merge(paths, tmp_path / "merged", skip_bad=True) == (6, ["a04", "a06"])
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_store_without_a_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    store = EmbeddingStore(shards[0])
    write_store(tmp_path / "old", store.encoder, store.keys, store.hashes, store.read([0, 1, 2]))
    assert f"{tmp_path}/old: records no shard" in refusal(lambda: merge([tmp_path / "old"], tmp_path / "merged"))


def test_nothing_to_merge_is_refused(tmp_path: Path) -> None:
    assert "no stores" in refusal(lambda: merge([], tmp_path / "merged"))
