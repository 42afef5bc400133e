"""`flowseg eval`: the sampling options, and the run's own settings as their defaults."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from commands import SETTINGS, Flowseg, trained_run


def scores(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "eval" / "test" / "metrics.json").read_text())
    return content


def test_a_run_is_scored_with_another_sampler(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", tiny_data)
    assert flowseg("eval", run).status == 0
    own = scores(run)
    assert own["sampler"] == asdict(SETTINGS)
    assert flowseg("eval", run, "--sampler", "heun", "--steps", 2).status == 0
    other = scores(run)
    assert other["sampler"] == asdict(replace(SETTINGS, sampler="heun", steps=2))
    assert other["model"]["brier"]["mean"] != own["model"]["brier"]["mean"]


def test_tolerance_is_the_adaptive_sampler_s(flowseg: Flowseg, tiny_data: Path, tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", tiny_data, "gaussian", sampler="dopri5")
    assert flowseg("eval", run, "--tolerance", 0.1).status == 0
    assert scores(run)["sampler"] == asdict(replace(SETTINGS, sampler="dopri5", tolerance=0.1))


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--steps", 0, "eval.steps = 0: must be at least 1"),
        ("--ensemble", -1, "eval.ensemble = -1: must be at least 1"),
        ("--tolerance", 1, "eval.tolerance = 1.0: must lie between 0 and 1"),
        ("--sampler", "rk45", "rk45"),
    ],
)
@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_bad_sampling_option_is_one_line(
    refused: Callable[..., str], tmp_path: Path, command: str, option: str, value: object, told: str
) -> None:
    more = ("image.png", "--out", "out") if command == "predict" else ()
    assert told in refused(command, tmp_path / "run", *more, option, value)
