"""`flowseg experiment`: the planned runs, refusals before anything starts, and finished runs that are kept."""

import json
from collections.abc import Callable
from pathlib import Path

from commands import BASELINE, FILM, Flowseg

from flowseg.commands.experiment import Experiment, plan
from flowseg.runs.folder import create_run

TINY = ("--data.crop", "16", "--train.batch", "4", "--model.dim", "8", "--model.heads", "1", "--model.head-dim", "8")
TINY += ("--model.multipliers", "1", "2", "--model.full-attention-levels", "1")
# The consistency term makes the program twice as large.
TINY += ("--flow.consistency", "0", "--train.epochs", "2", "--train.epoch-steps", "2")
TINY += ("--train.validate-every", "1", "--eval.steps", "1", "--preset", "full")


def asked(out: Path, data: Path, **more: object) -> Experiment:
    return Experiment((BASELINE, FILM), out, (0, 1), preset="full", data=str(data), **more)  # type: ignore[arg-type]


def test_seeds_come_first_and_only_film_gets_embeddings(tmp_path: Path) -> None:
    planned = plan(asked(tmp_path / "out", tmp_path, embeddings="vectors.safetensors"), ["--optim.lr", "0.5"])
    assert [(run.config.name, run.config.seed) for run in planned] == [
        ("baseline", 0),
        ("vlm_film", 0),
        ("baseline", 1),
        ("vlm_film", 1),
    ]
    assert [run.config.embeddings.store for run in planned] == [None, "vectors.safetensors"] * 2
    assert {run.config.optim.lr for run in planned} == {0.5}
    assert {run.config.data.root for run in planned} == {str(tmp_path)}
    assert planned[3].folder == tmp_path / "out" / "vlm_film" / "seed-1"


def test_finished_runs_are_known_and_another_config_s_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    wanted = asked(tmp_path / "out", tmp_path)
    first, second, *_ = plan(wanted, [])
    create_run(first.folder, first.config, None)
    assert not first.finished
    (first.folder / "done.json").write_text("{}")
    assert first.finished and not second.finished
    options = ("--configs", BASELINE, "--out", wanted.out, "--seeds", 0, "--data", tmp_path, "--preset", "full")
    assert "optim.lr: 0.0002 != 0.5" in refused("experiment", *options, "--optim.lr", "0.5")


def test_mistakes_show_before_anything_starts(tmp_path: Path, refused: Callable[..., str]) -> None:
    common = ("--out", tmp_path / "out", "--data", tmp_path, "--preset", "full")
    assert "given twice" in refused("experiment", "--configs", BASELINE, "--seeds", 1, 1, *common)
    for option in ("--seed", "--resume", "--data.root"):
        told = refused("experiment", "--configs", BASELINE, *common, option, "5")
        assert f"{option}: flowseg experiment sets it" in told
    assert "given twice" in refused("experiment", "--configs", BASELINE, "baseline", *common)
    assert "optim.speed" in refused("experiment", "--configs", BASELINE, *common, "--optim.speed", 3)
    copy = tmp_path / "copy.py"
    copy.write_text(BASELINE.read_text())
    assert "rename one" in refused("experiment", "--configs", BASELINE, copy, *common)
    assert "no such config; give a file" in refused("experiment", "--configs", tmp_path / "none.py", *common)


def test_two_seeds_are_trained_compared_and_kept(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    command = ("experiment", "--configs", BASELINE, "--seeds", 0, 1, "--out", tmp_path / "out", "--data", tiny_data)
    first = flowseg(*command, *TINY)
    assert first.status == 0, first.err
    runs = [tmp_path / "out" / "baseline" / f"seed-{seed}" for seed in (0, 1)]
    ended = [(run / "done.json").stat().st_mtime_ns for run in runs]
    report = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    assert len(report["runs"]) == 2
    page = json.loads((runs[1] / "report" / "report.json").read_text())
    assert page["settings"]["seed"] == 1 and page["film"] == []
    assert page["starts"][0]["command"].startswith("flowseg train ") and page["starts"][0]["seconds"] > 0
    again = flowseg(*command, *TINY)
    assert again.status == 0 and "2 of them finished" in again.out
    assert [(run / "done.json").stat().st_mtime_ns for run in runs] == ended
