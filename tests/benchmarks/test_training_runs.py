"""Runs that a benchmark compares: settings are always checked, and minutes are those of the training."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_minutes_are_those_of_all_starts_until_the_run_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import training_runs

    out, commands = tmp_path / "run", []
    ends = iter((60, None, 120, 600))  # one was killed

    def train(*command: object) -> None:
        commands.append(command)
        (out / "eval" / "test").mkdir(parents=True, exist_ok=True)
        seconds = next(ends)
        with (out / "starts.jsonl").open("a") as file:
            file.write('{"event": "start"}\n' + (f'{{"event": "end", "seconds": {seconds}}}\n' if seconds else ""))
        if len(commands) < 3:
            raise SystemExit(1)
        (out / "eval" / "test" / "metrics.json").write_text(json.dumps({"start": len(commands)}))
        (out / "done.json").touch()

    monkeypatch.setattr(training_runs, "flowseg", train)
    for _ in range(2):
        with pytest.raises(SystemExit):
            training_runs.trained(out, "vlm_film", "--seed", 1)
    assert training_runs.trained(out, "vlm_film", "--seed", 1) == {"test": {"start": 3}, "minutes": 3.0}
    # A finished run is not skipped: flowseg refuses other settings, and scores it again.
    assert training_runs.trained(out, "vlm_film", "--seed", 1) == {"test": {"start": 4}, "minutes": 3.0}
    assert commands == [("train", "vlm_film", "--out", out, "--resume", "auto", "--seed", 1)] * 4
