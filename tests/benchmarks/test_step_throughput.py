"""The benchmark of the step, end to end on a tiny network."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowseg.config import Config
from flowseg.training.state import TrainState

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "step_throughput.py"


CONFIG = """from flowseg.config import Config, FilmConfig, FlowConfig, ModelConfig

film = FilmConfig(stages=(0,))
model = ModelConfig(multipliers=(1,), full_attention_levels=(0,), film=film)
config = Config(model=model, flow=FlowConfig(family="gaussian"))
"""
OPTIONS = ("--dim", "8", "--heads", "1", "--head-dim", "8")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a config whose network has one level."""
    file = tmp_path / "config.py"
    file.write_text(CONFIG)
    return file


def test_a_table_a_json_and_a_plot(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--cases", "forward:16x2", "--groups", "against PyTorch", "--turns", "3"]
    command += ["--options", " ".join([f"--config {config}", *OPTIONS]), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    content = json.loads(out.read_text())
    ours, *torch = content["results"][0]["rows"]
    assert ours["program"] == "flowseg vlm_film" and len(ours["turns"]) == 3
    assert min(ours["turns"]) <= ours["seconds"] <= max(ours["turns"]) and ours["first_against_it"] == 1
    assert ours["peak_bytes"] > 1e8 and ours["compile_s"] > 0 and ours["start_s"] > ours["seconds"]
    assert len(torch) == 2 and all(row["missing"] == "no PyTorch: give --torch-python" for row in torch)
    assert "no PyTorch" in done.stdout
    assert content["machine"]["cores"] > 0 and content["machine"]["packages"]["jax"]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_training_call_takes_one_step_on_the_case_s_batch(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver that compiles nothing; the worker's protocol is tested above."""
    steps = []

    class Driver:
        def __init__(self, config: Config, total_steps: int):
            self.config = config

        def place_state(self, state: TrainState) -> TrainState:
            return state

        def __call__(self, state: TrainState, batch: dict[str, np.ndarray]) -> tuple[TrainState, np.ndarray]:
            steps.append((self.config, state, {name: values.shape for name, values in batch.items()}))
            return replace(state, step=state.step + 1), np.zeros(1)

    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import jax_worker

    monkeypatch.setattr("flowseg.training.drivers.make_driver", Driver)
    asked = ["jax_worker", "--config", str(config), "--mode", "train", "--size", "16", "--batch", "2", *OPTIONS]
    monkeypatch.setattr(sys, "argv", asked)
    call = jax_worker.prepare(jax_worker.parse())
    call()
    call()
    (used, first, shapes), (_, second, _) = steps
    assert (used.model.dim, used.train.batch, used.optim.accumulate) == (8, 2, 1)
    maps = (2, 16, 16, 1)
    assert shapes == {"image": maps, "target": maps, "embedding": (2, used.model.film.embedding_width)}
    assert (int(first.step), int(second.step)) == (0, 1)


def test_ratios_are_to_the_first_program_in_the_same_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from step_throughput import Program, summary

    # A busy third turn: it slows both, and changes no ratio.
    first = Program("first", "flowseg", [], seconds=[2.0, 2.0, 8.0])
    second = Program("second", "PyTorch", [], seconds=[0.5, 1.0, 4.0])
    rows = summary([first, second, Program("third", "PyTorch", [], missing="not there")], batch=4)
    assert [row["program"] for row in rows] == ["first", "second", "third"]
    assert (rows[0]["seconds"], rows[0]["images_per_s"], rows[0]["first_against_it"]) == (2.0, 2.0, 1.0)
    assert (rows[1]["seconds"], rows[1]["images_per_s"], rows[1]["first_against_it"]) == (1.0, 4.0, 0.5)
    assert rows[2] == {"program": "third", "missing": "not there"}
