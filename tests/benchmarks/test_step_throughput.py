"""The benchmark of the step, end to end on a tiny network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "step_throughput.py"


def test_a_table_a_json_and_a_plot(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--cases", "train:16x2", "--groups", "against PyTorch", "--turns", "3"]
    command += ["--options", "--dim 8 --heads 1 --head-dim 8", "--out", str(out)]
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
