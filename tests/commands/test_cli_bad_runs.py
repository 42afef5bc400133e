"""The command refuses bad run folders, bad requests to a run and bad checkpoints with one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import first

from flowseg.config import Config
from flowseg.config_values import from_dict
from flowseg.runs.folder import create_run


def test_out_that_holds_something(train_on: Callable[..., str], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    message = train_on("--out", taken)
    assert f"{taken}: is not empty; choose another --out" in message


def test_out_below_a_file(train_on: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path}/file/run: cannot be made" in train_on("--out", tmp_path / "file" / "run")


def test_resume_of_no_run(train_on: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}/gone: no run there" in train_on("--resume", tmp_path / "gone")


def test_resume_with_another_config(train_on: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", replace(Config(), seed=3), None)
    message = train_on("--resume", run.path)
    assert f"{run.path}: was started with another config: seed: 3 != 0 (and " in message


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_folder_that_is_no_run(refused: Callable[..., str], data: Path, tmp_path: Path, command: str) -> None:
    options = {"eval": (data,), "predict": (data, first(data, "image"), "--out", tmp_path / "out")}
    message = refused(command, *options[command])
    assert f"{data}: no run there (no config.json); give a folder that" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": {"model": 3}}', '{"config": {"sed": 1}}'])
def test_a_run_whose_config_is_broken(refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    (run.path / "config.json").write_text(text)
    assert str(run.path) in refused("eval", run.path)


def test_eval_of_a_run_without_checkpoints(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    config = from_dict(Config, {"data": {"root": str(data), "crop": 32}})
    run = create_run(tmp_path / "run", config, None)
    assert f"{run.path}: has no best checkpoint yet" in refused("eval", run.path)


def test_predict_without_images(refused: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    message = refused("predict", run.path, "--out", tmp_path / "out")
    assert "no images given; name one or more" in message


def test_predict_of_a_missing_image(refused: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    missing = tmp_path / "gone.png"
    assert f"{missing}: no such file" in refused("predict", run.path, missing, "--out", tmp_path / "out")


def test_predict_of_two_images_of_one_name(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    pair = first(data, "image"), first(data, "label")
    message = refused("predict", run.path, *pair, "--out", tmp_path / "out")
    assert "its outputs would have the same name, 0000, as those of" in message


def test_import_of_no_file(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("import-torch", tmp_path / "gone.ckpt", "--out", tmp_path / "run")
    assert f"{tmp_path}/gone.ckpt: no such file; give an original checkpoint" in message
