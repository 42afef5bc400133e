"""What the commands print and write when they succeed, and their help."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import BASELINE, FILM, Flowseg

from flowseg import cli
from flowseg.commands import presets
from flowseg.commands.parsing import load_config
from flowseg.config import DataConfig, EmbeddingConfig
from flowseg.embeddings.source import IMAGE_STATS, EmbeddingSource, describe_images
from flowseg.embeddings.store import EmbeddingStore
from flowseg.runs.prepare import prepare
from flowseg.training import memory


@pytest.mark.parametrize("config", [BASELINE, FILM], ids=["baseline", "vlm_film"])
def test_params_json_is_the_table_s_totals(flowseg: Flowseg, config: Path) -> None:
    outcome = flowseg("params", config, "--json")
    assert outcome.status == 0
    counts = json.loads(outcome.out)
    film = config == FILM
    assert counts == {
        "total": 11_649_729 if film else 10_694_977,
        "base": 10_694_977,
        "conditioner": 525_056 if film else 0,
        "film_heads": 429_696 if film else 0,
    }


def test_a_config_by_its_name_is_its_file(flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert flowseg("params", "vlm_film", "--json").out == flowseg("params", FILM, "--json").out


def test_params_table_ends_with_the_totals(flowseg: Flowseg) -> None:
    outcome = flowseg("params", BASELINE, "--model.dim", "16")
    assert outcome.status == 0
    last = outcome.out.strip().splitlines()[-1]
    assert last.startswith("total: ") and "base: " in last
    assert int(last.split()[1].replace(",", "")) < 10_694_977
    assert "middle/cross1/qkv_x/kernel" in outcome.out


def test_doctor_says_what_a_config_runs_on(flowseg: Flowseg, tiny_data: Path) -> None:
    def said(*more: object) -> dict[str, str]:
        outcome = flowseg("doctor", FILM, "--devices", 1, *more)
        assert outcome.status == 0 and outcome.err == ""
        return dict(line.split(maxsplit=1) for line in outcome.out.splitlines())

    full, reduced = said("--preset", "full"), said("--data.root", tiny_data)
    assert full["devices"].startswith("1 of 4: cpu") and full["precision"] == reduced["precision"] == "float32"
    assert full["step"] == "6 crops of 320x320, 1 at a time on each device"
    assert (full["config"], reduced["config"]) == ("vlm_film, as it is", "vlm_film, reduced recipe")
    seconds = [float(lines["time"].split()[1]) for lines in (full, reduced)]
    assert seconds[0] > 5 * seconds[1] > 0
    halved = said("--preset", "full", "--train.half-size-share", 0.5)["time"]
    assert " s a step, a quarter of it at half size (" in halved and "half size" not in full["time"]


def test_doctor_says_why_training_would_be_refused(flowseg: Flowseg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "step_seconds", lambda config: 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "machine_memory", lambda: 1e8)
        outcome = flowseg("doctor", FILM, "--devices", 1, "--preset", "full")
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1].startswith("refused     too little memory on cpu of 0.1 GB: ")
    outcome = flowseg("doctor", FILM, "--devices", 1, "--eval.window-batch", 65_536, "--eval.ensemble", 10_000)
    assert outcome.out.splitlines()[-1].startswith("refused     eval.window_batch = 65536, eval.ensemble = 10000")


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_usage_lists_every_command(flowseg: Flowseg, args: tuple[str, ...]) -> None:
    outcome = flowseg(*args)
    assert outcome.status == (0 if args else 2)
    for command in cli.COMMANDS:
        assert f"\n  {command} " in outcome.out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_help(flowseg: Flowseg, command: str) -> None:
    outcome = flowseg(command, "--help")
    assert outcome.status == 0
    assert f"flowseg {command}" in outcome.out and outcome.err == ""


@pytest.mark.parametrize("command", ["train", "params", "doctor", "experiment"])
def test_commands_on_a_config_say_that_it_is_executed(flowseg: Flowseg, command: str) -> None:
    shown = re.sub(r"[\s│]+", " ", flowseg(command, "--help").out)
    assert re.search(r"Python files? that defines? one, which (is|are) executed", shown)


def test_an_unknown_command_is_named(flowseg: Flowseg) -> None:
    outcome = flowseg("trian")
    assert outcome.status == 2
    assert "trian" in outcome.err and "train" in outcome.err and outcome.err.count("\n") == 1


def test_embed_makes_a_store_that_a_run_uses(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    store = tmp_path / "new" / "store.safetensors"
    outcome = flowseg("embed", tiny_data, "--out", store)
    assert outcome.status == 0 and str(store) in outcome.out
    assert EmbeddingStore(store).encoder == IMAGE_STATS
    assert len(EmbeddingStore(store)) == 11
    config = replace(load_config(FILM), data=DataConfig(root=str(tiny_data), crop=32))
    stored = prepare(replace(config, embeddings=EmbeddingConfig(str(store))))
    computed = prepare(config)
    assert stored.encoder == computed.encoder == IMAGE_STATS
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        assert stored.datasets[split].embeddings().shape == (count, 2048)
        np.testing.assert_array_equal(stored.datasets[split].embeddings(), computed.datasets[split].embeddings())
    assert len(np.unique(stored.datasets["train"].embeddings(), axis=0)) == 6


def test_embed_takes_a_plain_folder_of_images(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    folder, store = tiny_data / "test" / "image", tmp_path / "store.safetensors"
    assert flowseg("embed", folder, "--out", store).status == 0
    paths = sorted(folder.iterdir())
    hashes, vectors = describe_images(paths)
    found = EmbeddingSource(str(store), 2048).vectors(["x"] * 3, paths, hashes, "x")
    np.testing.assert_array_equal(found, vectors)


@pytest.mark.parametrize("variant", ["plain", "choice"])
def test_phantoms_are_a_data_set_to_train_on(flowseg: Flowseg, tmp_path: Path, variant: str) -> None:
    out = tmp_path / "drawn"
    sizes = ("--size", 64, "--train", 3, "--val", 1, "--test", 2)
    outcome = flowseg("phantoms", out, "--variant", variant, *sizes)
    assert outcome.status == 0 and "3 train, 1 val, 2 test images" in outcome.out
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        for kind in ("image", "label"):
            assert len(list((out / split / kind).iterdir())) == count
    assert (out / "choice.safetensors").exists() == (variant == "choice")
    before = sorted(out.rglob("*"))
    again = flowseg("phantoms", out, "--variant", variant, *sizes)
    assert again.status == 1 and "exists already" in again.err and again.err.count("\n") == 1
    assert sorted(out.rglob("*")) == before


def test_phantoms_too_small_or_too_large_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    for size in (8, 1_000_000):
        told = refused("phantoms", tmp_path / "drawn", "--size", size)
        assert f"--size {size}: must lie between 32 and 8192" in told
