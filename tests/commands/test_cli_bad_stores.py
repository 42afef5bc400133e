"""The command refuses bad embedding stores, and bad requests to make one, with one line."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import FILM, SMALL, Flowseg, first, wide_store, write
from safetensors.numpy import load_file, save_file

from flowseg.config import Config
from flowseg.config_values import from_dict
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.embeddings.store import FORMAT
from flowseg.runs.folder import create_run


def test_store_of_another_data_set(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for index, path in enumerate(sorted(other.glob("*/image/*"))):
        write(path.with_name(f"new{path.name}"), np.arange(index, index + 4096).reshape(64, 64).astype(np.uint16))
        path.unlink()
    for path in sorted(other.glob("*/label/*")):
        path.rename(path.with_name(f"new{path.name}"))
    message = refused("train", FILM, "--data.root", other, "--embeddings.store", store, *SMALL)
    assert f"{store}: 6 of 6 images are not in it (train/new0000, " in message
    assert f"flowseg embed {other}" in message and f"--out {store}" in message


def test_store_older_than_an_image(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    write(first(data, "image"), np.eye(64, dtype=np.uint8))
    message = refused("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert f"{store}: 1 of 6 images were changed after it was made (train/0000)" in message


def test_store_of_another_width(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 64)
    message = refused("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert "model.film.embedding_width = 2048" in message
    assert str(store) in message and "set --model.film.embedding-width 64" in message


def test_store_with_vectors_that_are_not_finite(
    flowseg: Flowseg, refused: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    """Older versions, and other programs, may have written such a store."""
    store = wide_store(tmp_path / "store", data, 2048)
    tensors = load_file(store)
    del tensors["digests"]
    tensors["vectors"][2, 7] = np.nan
    save_file(tensors, store, {"format": FORMAT, "encoder": "narrow", "settings": "{}"})
    said = f"{store}: 1 of {{}} vectors are not finite (test/0010); make it again with: flowseg embed"
    # Training reads those of each split by themselves.
    train = ("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert said.format(3) in refused(*train)
    outcome = flowseg("embed", "info", store)
    assert outcome.status == 1 and said.format(11) in outcome.err
    assert "narrow: 11 vectors of 2048 numbers, float32" in outcome.out


def test_width_that_image_stats_lack(refused: Callable[..., str], data: Path) -> None:
    message = refused("train", FILM, "--data.root", data, *SMALL, "--model.film.embedding-width", 64)
    assert "model.film.embedding_width = 64: image-stats" in message


@pytest.mark.parametrize("content", [b"", b"no store", None])
def test_a_file_that_is_no_store(
    refused: Callable[..., str], data: Path, tmp_path: Path, content: bytes | None
) -> None:
    store = tmp_path / "store"
    if content is not None:
        store.write_bytes(content)
    message = refused("train", FILM, "--data.root", data, "--embeddings.store", store, *SMALL)
    assert f"{store}: " in message and "embedding store" in message and "make it" in message


def test_embeddings_for_a_baseline(train_on: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    message = train_on("--embeddings.store", store)
    assert f"embeddings.store = '{store}': this config has no FiLM stages" in message and "use vlm_film or" in message


def test_embeddings_for_the_run_of_a_baseline(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    run = create_run(tmp_path / "run", from_dict(Config, {"data": {"root": str(data), "crop": 32}}), None)
    assert "this config has no FiLM stages" in refused("eval", run.path, "--embeddings", store)


def test_eval_with_another_encoder_than_in_training(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    store = wide_store(tmp_path / "store", data, 2048)
    config = from_dict(Config, {"data": {"root": str(data), "crop": 32}, "model": {"film": {"stages": [0]}}})
    run = create_run(tmp_path / "run", config, IMAGE_STATS)
    message = refused("eval", run.path, "--embeddings", store)
    assert f"{run.path}: was trained on {IMAGE_STATS} embeddings, these are from narrow" in message


def test_embed_of_no_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}/gone: no such folder" in refused("embed", tmp_path / "gone", "--out", tmp_path / "store")


def test_embed_of_a_folder_without_images(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused("embed", tmp_path / "empty", "--out", tmp_path / "store")


def test_embed_into_a_file_s_subfolder(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path}/file/store: cannot be written" in refused("embed", data, "--out", tmp_path / "file" / "store")


@pytest.mark.parametrize("name", ["qwen", "shuffled", "shuffled:", ""])
def test_embed_with_an_encoder_that_there_is_not(
    refused: Callable[..., str], data: Path, tmp_path: Path, name: str
) -> None:
    message = refused("embed", data, "--encoder", name, "--out", tmp_path / "store")
    assert f"--encoder {name}: choose one of image-stats, " in message and "shuffled:FILE" in message


@pytest.mark.parametrize(
    ("encoder", "option", "value", "takers"),
    [
        ("image-stats", "model", "x", "qwen2.5-vl"),
        ("random", "features", "image", "qwen2.5-vl"),
        ("image-stats", "seed", "1", "random, constant, shuffled:FILE"),
    ],
)
def test_embed_with_an_option_that_the_encoder_ignores(
    refused: Callable[..., str], data: Path, tmp_path: Path, encoder: str, option: str, value: str, takers: str
) -> None:
    message = refused("embed", data, "--encoder", encoder, f"--{option}", value, "--out", tmp_path / "store")
    assert f"--{option}: {encoder} takes no such option, only {takers}; leave it out" in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--encoder", "random", "--width", "0"), "--width 0: must be at least 1"),
        (("--encoder", "random", "--width", "1000000000000"), "--width 1000000000000: must be at most 65,536"),
        (("--encoder", "random", "--seed", "-1"), "--seed -1: must lie between 0 and 2147483647"),
        (("--encoder", "qwen2.5-vl", "--batch", "0"), "--batch 0: must be at least 1"),
        (("--encoder", "qwen2.5-vl", "--prompt", "x"), "--prompt: only --features prompt"),
        (("--shard", "3/2"), "--shard 3/2"),
        (("--shard", "1/99"), "only 11 images"),
    ],
)
def test_embed_with_a_value_that_makes_no_sense(
    refused: Callable[..., str], data: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in refused("embed", data, *options, "--out", tmp_path / "store")


def test_embed_of_a_first_image_that_cannot_be_read(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    bad = first(data, "image")
    bad.write_bytes(b"no picture")
    message = refused("embed", data, "--out", tmp_path / "store")
    assert str(bad) in message and "--skip-bad" in message


def test_embed_shuffled_of_no_store(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    message = refused("embed", data, "--encoder", f"shuffled:{tmp_path}/gone", "--out", tmp_path / "store")
    assert f"{tmp_path}/gone: no such embedding store" in message


def test_embed_without_the_vlm_extra(
    refused: Callable[..., str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refused("embed", data, "--encoder", "qwen2.5-vl", "--out", tmp_path / "store")
    assert "pip install 'flowseg[vlm]'" in message


def test_merge_and_info_of_files_that_are_not_there(refused: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}/a: no such" in refused("embed", "merge", tmp_path / "a", "--out", tmp_path / "store")
    assert f"{tmp_path}/a: no such" in refused("embed", "info", tmp_path / "a")


def test_merge_of_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    refused("embed", "merge", "--out", tmp_path / "store")


def test_merge_of_shards_with_one_missing(
    flowseg: Flowseg, refused: Callable[..., str], data: Path, tmp_path: Path
) -> None:
    assert flowseg("embed", data, "--shard", "2/3", "--out", tmp_path / "b").status == 0
    assert "missing 1/3, 3/3" in refused("embed", "merge", tmp_path / "b", "--out", tmp_path / "store")
