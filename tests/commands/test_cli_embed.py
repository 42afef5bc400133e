"""`flowseg embed`, `embed merge` and `embed info` when they succeed."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import REPO, Flowseg, first, write
from stopped_embedding import program, stopped

from flowseg.embeddings.source import IMAGE_STATS
from flowseg.embeddings.store import EmbeddingStore


def test_shards_merged_are_the_whole(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    assert flowseg("embed", tiny_data, "--out", tmp_path / "whole").status == 0
    for i in (1, 2, 3):
        outcome = flowseg("embed", tiny_data, "--shard", f"{i}/3", "--out", tmp_path / f"part{i}")
        assert outcome.status == 0 and f"shard {i}/3" in outcome.out
    parts = [tmp_path / f"part{i}" for i in (3, 1, 2)]
    outcome = flowseg("embed", "merge", *parts, "--out", tmp_path / "merged")
    assert outcome.status == 0 and "11 vectors of 3 shards" in outcome.out
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("encoder", ["random", "constant"])
def test_controls_have_a_width_and_a_seed(flowseg: Flowseg, tiny_data: Path, tmp_path: Path, encoder: str) -> None:
    def store(*options: object) -> EmbeddingStore:
        assert flowseg("embed", tiny_data, "--encoder", encoder, "--out", tmp_path / "store", *options).status == 0
        return EmbeddingStore(tmp_path / "store")

    assert store().encoder.width == IMAGE_STATS.width and store().encoder.settings == {"seed": 0}
    first = store("--seed", 3, "--width", 5).read(range(11))
    assert first.shape == (11, 5)
    assert len(np.unique(first, axis=0)) == (1 if encoder == "constant" else 11)
    assert (store("--seed", 4, "--width", 5).read(range(11)) != first).all()


def test_shuffled_keeps_the_vectors_of_each_split(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    assert flowseg("embed", tiny_data, "--out", tmp_path / "store").status == 0
    outcome = flowseg("embed", tiny_data, "--encoder", f"shuffled:{tmp_path}/store", "--out", tmp_path / "shuffled")
    assert outcome.status == 0
    own, other = EmbeddingStore(tmp_path / "store"), EmbeddingStore(tmp_path / "shuffled")
    assert own.keys == other.keys and other.encoder.name == "shuffled"
    a, b = own.read(range(11)), other.read(range(11))
    for split in ("train", "val", "test"):
        rows = [i for i, key in enumerate(own.keys) if key.startswith(f"{split}/")]
        assert (a[rows] != b[rows]).any(axis=1).all()
        np.testing.assert_array_equal(np.unique(a[rows], axis=0), np.unique(b[rows], axis=0))


def test_skipped_images_are_listed_at_the_end(flowseg: Flowseg, data: Path, tmp_path: Path) -> None:
    folder = data / "train" / "image"
    bad = sorted(folder.iterdir())[2]
    bad.write_bytes(b"no picture")
    outcome = flowseg("embed", folder, "--skip-bad", "--out", tmp_path / "store")
    assert outcome.status == 0 and "5 vectors" in outcome.out
    assert "1 image skipped:" in outcome.out and str(bad) in outcome.out.splitlines()[-1]


def test_info_says_what_a_store_is_and_holds(flowseg: Flowseg, data: Path, tmp_path: Path) -> None:
    assert flowseg("embed", data, "--out", tmp_path / "store").status == 0
    other = first(data, "image", "val")
    other.write_bytes(first(data, "image", "test").read_bytes())  # images are found by content, not by name
    outcome = flowseg("embed", "info", tmp_path / "store", "--data", data)
    assert outcome.status == 0 and "WARNING" not in outcome.out
    for said in (
        "image-stats: 11 vectors of 2048 numbers, float32",
        "version: 1",
        "shard 1/1 of a list of 11 images, 0 skipped",
        "train: holds 6 of 6 images",
        "cosines between all 11 images",
        "different images with a cosine above 0.9999: 0 pairs",
    ):
        assert said in outcome.out
    write(other, np.arange(4096, dtype=np.uint16).reshape(64, 64))
    outcome = flowseg("embed", "info", tmp_path / "store", "--data", data)
    assert f"val: holds 1 of 2 images, not val/{other.stem}" in outcome.out


def test_info_warns_of_a_condition_that_is_useless(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    assert flowseg("embed", tiny_data, "--encoder", "constant", "--out", tmp_path / "store").status == 0
    outcome = flowseg("embed", "info", tmp_path / "store")
    assert outcome.status == 0
    assert "WARNING: the vectors are all the same" in outcome.out
    assert "55 pairs" in outcome.out and "and 45 more" in outcome.out


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_batch_and_the_command_goes_on(
    tiny_data: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "FLOWSEG_CACHE": str(tmp_path / "cache")}
    ask = ["embed", tiny_data, "--out", tmp_path / "store"]
    command = program("flowseg.embeddings.source:ImageStats", ask, batch=2)
    status, rest = stopped(command, signum, tmp_path, environment)
    assert status == 128 + signum
    assert f"{tmp_path}/store.parts" in rest and not (tmp_path / "store").exists()
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert "11 vectors (6 made before)" in done.stdout
    assert not (tmp_path / "store.parts").exists()
