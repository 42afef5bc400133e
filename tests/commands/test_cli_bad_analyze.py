"""`flowseg analyze film` refuses bad input with one line, before anything is computed or written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import first

from flowseg.config import Config
from flowseg.config_values import from_dict
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.models.network import init_params
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import create_run
from flowseg.training.state import init_state

FILM = {"dim": 8, "heads": 1, "head_dim": 8, "film": {"stages": [0, 3]}}


@pytest.fixture
def film_run(data: Path, tmp_path: Path) -> Path:
    """A run with FiLM whose best checkpoint is an untrained network."""
    config = from_dict(Config, {"data": {"root": str(data), "crop": 16}, "model": FILM})
    run = create_run(tmp_path / "run", config, IMAGE_STATS)
    checkpoints = Checkpoints(run.path)
    checkpoints.save("best", init_state(config, init_params(config), 1), config, {"best_dice": None})
    checkpoints.close()
    return run.path


def test_a_run_without_film(refused: Callable[..., str], tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", Config(), None)
    message = refused("analyze", "film", run.path)
    assert f"{run.path}: has no FiLM stages (model.film.stages is empty)" in message


def test_a_folder_that_is_no_run(refused: Callable[..., str], data: Path) -> None:
    assert f"{data}: no run there" in refused("analyze", "film", data)


def test_a_run_without_a_best_checkpoint(refused: Callable[..., str], data: Path, tmp_path: Path) -> None:
    config = from_dict(Config, {"data": {"root": str(data), "crop": 16}, "model": FILM})
    run = create_run(tmp_path / "run", config, None)
    assert f"{run.path}: has no best checkpoint yet" in refused("analyze", "film", run.path)


def test_a_split_without_images(refused: Callable[..., str], film_run: Path, data: Path) -> None:
    for path in data.glob("val/*/*.png"):
        path.unlink()
    assert f"{data}/val/image: is empty" in refused("analyze", "film", film_run, "--split", "val")


def test_a_split_of_one_image(refused: Callable[..., str], film_run: Path, data: Path) -> None:
    for kind in ("image", "label"):
        first(data, kind, "val").unlink()
    message = refused("analyze", "film", film_run, "--split", "val")
    assert f"{data}/val: holds only one image" in message and "two or more" in message


@pytest.mark.parametrize("count", ["1", "0", "-3"])
def test_too_few_images_asked_for(refused: Callable[..., str], film_run: Path, count: str) -> None:
    assert f"--images {count}: another image's embedding takes" in refused(
        "analyze", "film", film_run, "--images", count
    )


def test_an_impossible_seed(refused: Callable[..., str], film_run: Path) -> None:
    assert "--seed -1: must lie between" in refused("analyze", "film", film_run, "--seed", "-1")


@pytest.mark.parametrize(
    ("name", "content"), [("notes.txt", "mine"), ("report.json", ["mine"]), ("report.json", {"format": "mine"})]
)
def test_out_that_holds_something_else(
    refused: Callable[..., str], film_run: Path, tmp_path: Path, name: str, content: object
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / name).write_text(json.dumps(content))
    message = refused("analyze", "film", film_run, "--out", taken)
    assert f"{taken}: holds something other than a report" in message


def test_out_below_a_file(refused: Callable[..., str], film_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    message = refused("analyze", "film", film_run, "--out", tmp_path / "file" / "deep" / "out")
    assert f"{tmp_path}/file/deep: cannot be made" in message


def test_a_missing_store(refused: Callable[..., str], film_run: Path, tmp_path: Path) -> None:
    assert f"{tmp_path}/gone: no such embedding store" in refused(
        "analyze", "film", film_run, "--embeddings", tmp_path / "gone"
    )
