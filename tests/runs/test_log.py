"""What a run records."""

import json
from pathlib import Path

import numpy as np
import pytest

from flowseg.runs.log import METRICS_FILE, Telemetry, film_statistics, read_metrics


def test_a_modulation_that_ignores_the_image_has_no_spread_between_images() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat(1 + rng.standard_normal((1, 16)), 5, axis=0)
    other = rng.standard_normal((5, 16))
    (row,) = film_statistics([(same, other)], [2], np.full((5, 4), 3.0))
    assert row["stage"] == 2
    assert row["gamma_between"] == pytest.approx(0)
    assert row["gamma_change"] == pytest.approx(np.abs(same - 1).mean())
    assert row["beta_between"] == pytest.approx(other.std(0).mean())
    assert (row["condition_norm"], row["condition_between"]) == (6.0, 0.0)


def test_no_modulation_is_zero_everywhere() -> None:
    (row,) = film_statistics([(np.ones((3, 8)), np.zeros((3, 8)))], [0], np.ones((3, 4)))
    assert row["gamma_change"] == row["beta_change"] == row["gamma_between"] == row["beta_between"] == 0


def test_a_resumed_run_takes_out_what_it_will_measure_again(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path, 0, -1)
    for step in (2, 4, 6):
        telemetry.write("train", step, step / 4, {"loss": 0.5})
    telemetry.write("val", 4, 1.0, {"dice": 0.5})
    telemetry.close()
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"kind": "train", "st')  # cut off by a crash
    Telemetry(tmp_path, 4, -1).close()
    assert [(m["kind"], m["step"]) for m in read_metrics(tmp_path)] == [("train", 2), ("train", 4)]


def test_every_line_is_json_with_step_and_epoch(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path, 0, -1)
    telemetry.write("train", 3, 0.75, {"loss": 0.5, "grad_norm": None})
    telemetry.close()
    (line,) = (tmp_path / METRICS_FILE).read_text().splitlines()
    assert json.loads(line) == {"kind": "train", "step": 3, "epoch": 0.75, "loss": 0.5, "grad_norm": None}
