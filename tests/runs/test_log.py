"""What a run records."""

import json
from pathlib import Path

from flowseg.runs.log import METRICS_FILE, Log, read_metrics


def test_a_resumed_run_takes_out_what_it_will_measure_again(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, -1)
    for step in (2, 4, 6):
        log.write("train", step, step / 4, {"loss": 0.5})
    log.write("val", 4, 1.0, {"dice": 0.5})
    log.close()
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"kind": "train", "st')  # cut off by a crash
    Log(tmp_path, 4, -1).close()
    assert [(m["kind"], m["step"]) for m in read_metrics(tmp_path)] == [("train", 2), ("train", 4)]


def test_every_line_is_json_with_step_and_epoch(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, -1)
    log.write("train", 3, 0.75, {"loss": 0.5, "grad_norm": None})
    log.close()
    (line,) = (tmp_path / METRICS_FILE).read_text().splitlines()
    assert json.loads(line) == {"kind": "train", "step": 3, "epoch": 0.75, "loss": 0.5, "grad_norm": None}
