"""From a folder of images to a verdict by the commands a user runs, with a tiny Qwen2.5-VL."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
pytest.importorskip("transformers", reason="needs the vlm extra: pip install 'flowseg[vlm]'")

from safetensors.numpy import load_file
from stopped_embedding import program, stopped
from tiny_qwen import make_tiny_qwen

from flowseg.phantoms.angiogram import write_phantoms

pytestmark = pytest.mark.torch
REPO = Path(__file__).resolve().parents[2]
# A narrow network, 16x16 crops, 8 steps.
SMALL = [
    *("--preset", "cpu", "--devices", "1", "--data.crop", "16", "--data.max-side", "48"),
    *("--model.dim", "8", "--model.heads", "1", "--model.head-dim", "8", "--model.film.embedding-width", "32"),
    *("--model.multipliers", "1", "2", "--model.full-attention-levels", "1", "--model.film.stages", "0", "1"),
    *("--train.epochs", "2", "--train.epoch-steps", "4", "--train.validate-every", "1"),
    *("--eval.steps", "1", "--eval.overlap", "0"),
]


def flowseg(folder: Path, *args: object) -> str:
    """Runs the command in a new process and returns what it printed."""
    command = [sys.executable, "-m", "flowseg", *map(str, args)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_embed_interrupt_resume_merge_train_analyze(tmp_path: Path) -> None:
    model = make_tiny_qwen(tmp_path / "tiny")
    write_phantoms(tmp_path / "data", size=64, counts={"train": 16, "val": 2, "test": 10})
    ask = ["embed", "data", "--encoder", "qwen2.5-vl", "--model", model]

    # Interrupted within the third image, then continued.
    command = program("flowseg.embeddings.qwen:Qwen", [*ask, "--shard", "1/2", "--out", "one"])
    status, rest = stopped(command, signal.SIGTERM, tmp_path)
    assert status == 128 + signal.SIGTERM
    assert "stopped; the same command continues from one.parts" in rest and not (tmp_path / "one").exists()
    assert "14 vectors (3 made before)" in flowseg(tmp_path, *ask, "--shard", "1/2", "--out", "one")
    assert not (tmp_path / "one.parts").exists()

    flowseg(tmp_path, *ask, "--shard", "2/2", "--out", "two")
    flowseg(tmp_path, "embed", "merge", "one", "two", "--out", "merged")
    flowseg(tmp_path, *ask, "--out", "whole")
    merged, whole = (load_file(tmp_path / name) for name in ("merged", "whole"))
    assert merged["vectors"].shape == (28, 32)
    order = {row.tobytes(): i for i, row in enumerate(merged["hashes"])}
    rows = [order[row.tobytes()] for row in whole["hashes"]]
    np.testing.assert_array_equal(merged["vectors"][rows], whole["vectors"])
    assert "28" in flowseg(tmp_path, "embed", "info", "merged", "--data", "data")

    config = REPO / "configs" / "vlm_film.py"
    data = ["--data.root", "data", "--embeddings.store", "merged"]
    flowseg(tmp_path, "train", config, *SMALL, *data, "--out", "run")
    film = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {m["stage"] for m in film if m["kind"] == "film"} == {0, 1}
    assert all(m["condition_norm"] > 0 for m in film if m["kind"] == "film")
    page = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert [row["stage"] for row in page["film"]] == [0, 1]
    told = flowseg(tmp_path, "analyze", "film", "run")
    report = json.loads((tmp_path / "run" / "analysis" / "film-test" / "report.json").read_text())
    assert report["verdict"]["sentence"] in told
    assert report["encoder"]["name"] == "qwen2.5-vl" and len(report["images"]) == 10
    assert (tmp_path / "run" / "analysis" / "film-test" / "report.html").stat().st_size > 10_000
