"""Data made ready: what is odd about it is said."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refusal

from flowseg.config import Config, DataConfig
from flowseg.embeddings.store import Encoder
from flowseg.runs.prepare import check_encoder, prepare


def test_labels_that_cover_most_of_the_image_are_doubted(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(Config(), data=DataConfig(root=str(tiny_data), crop=16))
    prepare(config)
    assert "WARNING" not in capsys.readouterr().out
    shutil.copytree(tiny_data, tmp_path / "data")
    for file in (tmp_path / "data" / "val" / "label").iterdir():
        field = np.zeros((64, 64), np.uint8)
        field[6:58, 6:58] = 255
        Image.fromarray(field).save(file)
    prepare(replace(config, data=replace(config.data, root=str(tmp_path / "data"))))
    told = " ".join(capsys.readouterr().out.split())
    assert "WARNING: 66% of the pixels of the labels of val are vessel" in told and "fields of view" in told


def test_an_image_in_two_splits_is_told(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "[data]"
    shutil.copytree(tiny_data, root)
    for kind in ("image", "label"):
        shutil.copy(root / "train" / kind / "0002.png", root / "test" / kind / "copy.png")
    prepare(replace(Config(), data=DataConfig(root=str(root), crop=16)))
    told = " ".join(capsys.readouterr().out.split())
    assert "WARNING: the same image in two splits (1 image): train/0002 is test/copy; scores on it" in told
    assert f"flowseg data check {root}" in told


def test_a_store_that_was_made_otherwise_is_refused_with_the_difference() -> None:
    """Their names and widths are the same."""
    run: Any = SimpleNamespace(path=Path("run"), encoder=Encoder("qwen2.5-vl", {"model": "A/B", "dtype": "bf16"}, 8))
    check_encoder(run, Encoder("qwen2.5-vl", {"model": "A/B", "dtype": "bf16"}, 8))
    told = refusal(lambda: check_encoder(run, Encoder("qwen2.5-vl", {"model": "A/B", "dtype": "f32"}, 8)))
    assert told == (
        "run: was trained on qwen2.5-vl (8 wide) embeddings, these are from qwen2.5-vl (8 wide) (dtype f32 here, bf16 "
        "there); use a store made like the run's"
    )
