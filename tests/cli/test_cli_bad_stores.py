"""How the command refuses embedding stores, and to make one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import FILM, SMALL, first, wide_store, write

from flowseg.config import Config, from_dict
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.runs import create_run


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
    assert f"embeddings.store = '{store}': this config has no FiLM stages" in message and "vlm_film.py" in message


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
