"""flowseg's own logs by epoch."""

import json
from pathlib import Path

import pytest
from made_runs import make_run
from refusals import refusal

from flowseg.progress import console
from flowseg.reports.compare.run_log import read_run_log
from flowseg.runs.folder import open_run


def rows(folder: Path, lines: list[dict]) -> list[tuple]:
    run = open_run(make_run(folder))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [(row.epoch, row.loss, row.dice, row.measured) for row in read_run_log(run, "run").rows]


def train(step: int, steps: int, loss: float | None, per_epoch: float) -> dict:
    return {"kind": "train", "step": step, "epoch": round(step / per_epoch, 4), "steps": steps, "loss": loss}


def test_an_epoch_s_loss_is_the_mean_over_its_steps(tmp_path: Path) -> None:
    """Lines of ten steps, epochs of four: a line's loss counts in each epoch by its steps there."""
    lines = [train(10, 10, 1.0, 4), train(20, 10, 3.0, 4), {"kind": "val", "step": 20, "epoch": 5.0, "dice": 0.7}]
    assert rows(tmp_path / "run", lines) == [
        (1, 1.0, None, False),
        (2, 1.0, None, False),
        (3, 2.0, None, False),
        (4, 3.0, None, False),
        (5, 3.0, 0.7, True),
    ]


def test_an_epoch_of_another_program_may_end_within_a_step(tmp_path: Path) -> None:
    """Five images in batches of two: epochs of two and a half steps, however long the training."""
    lines = [train(3 * i, 3, float(i), 2.5) for i in range(1, 1001)]
    lines.append({"kind": "val", "step": 3000, "epoch": 1200.0, "dice": 0.7})
    found = rows(tmp_path / "run", lines)
    # Steps 1 and 2; 3 to 5; 6 and 7; 8 to 10.
    assert [row[1] for row in found[:4]] == pytest.approx([1, 5 / 3, 2.5, 10 / 3])
    assert [row[0] for row in found] == list(range(1, 1201)) and found[-1][1:] == (1000, 0.7, True)


def test_epochs_that_are_shorter_than_a_step_have_the_loss_of_none(tmp_path: Path) -> None:
    """Two images in batches of eight: every fourth epoch ends with a step."""
    lines = [train(1, 1, 1.0, 0.25), train(3, 2, 2.0, 0.25), {"kind": "val", "step": 3, "epoch": 12.0, "dice": 0.7}]
    assert [row[:3] for row in rows(tmp_path / "run", lines)] == [(4, 1, None), (8, 2, None), (12, 2, 0.7)]


def test_of_several_validations_in_an_epoch_the_last_counts_and_it_is_said(tmp_path: Path) -> None:
    """As in a short training of another program. The first epoch is 1, even if nearly nothing of it is over."""
    lines = [{"kind": "val", "step": s, "epoch": s / 10, "dice": s / 100} for s in (2, 4, 14, 20)]
    with console.capture() as told:
        found = rows(tmp_path / "run", lines)
    assert [(row[0], row[2]) for row in found] == [(1, 0.04), (2, 0.2)]
    assert "an epoch with several validations counts with the last" in " ".join(told.get().split())


def test_steps_without_a_finite_loss_leave_a_hole(tmp_path: Path) -> None:
    lines = [train(10, 10, 1.0, 10), train(20, 10, None, 10), train(30, 10, 2.0, 10)]
    assert [row[0] for row in rows(tmp_path / "run", lines)] == [1, 3]


def test_equal_validations_are_two_measurements(tmp_path: Path) -> None:
    """Nothing is carried forward in metrics.jsonl."""
    run = open_run(make_run(tmp_path / "run", dices=dict.fromkeys(range(1, 9), 0.0), losses=[0.1] * 8))
    found = read_run_log(run, "run")
    assert len(found.measured) == 8 and not found.carried_forward and found.every == 1 and found.planned == 8


def test_an_imported_run_has_no_log(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path / "run"))
    (run.path / "metrics.jsonl").unlink()
    found = read_run_log(run, "run")
    assert found.rows == () and found.best is None and found.last is None and found.every is None


@pytest.mark.parametrize(
    "content",
    [
        "{}\n",
        "[1]\n",
        "not json\n",
        '{"kind": "val", "epoch": 1.0, "step": 3}\n',
        '{"kind": "val", "epoch": 1e12, "step": 1000000000000, "dice": 0.5}\n',
        '{"kind": "train", "epoch": 1.0, "step": 2, "steps": 2000000000, "loss": 0.5}\n',
        '{"kind": "train", "epoch": 1.0, "step": 2000000000, "steps": 2000000000, "loss": 0.5}\n'
        '{"kind": "val", "epoch": 4.0, "step": 4, "dice": 0.5}\n',
    ],
)
def test_a_damaged_log_is_one_line(tmp_path: Path, content: str) -> None:
    run = open_run(make_run(tmp_path / "run"))
    (run.path / "metrics.jsonl").write_text(content)
    assert "metrics.jsonl: is not a run's log" in refusal(lambda: read_run_log(run, "run"))


@pytest.mark.parametrize("line", [train(20, 2, 0.5, 2), train(10_000, 9, 0.5, 1), train(3, 3, 0.5, 1)])
def test_epochs_that_do_not_fit_the_steps_are_refused(tmp_path: Path, line: dict) -> None:
    """Such a line would be divided among a million epochs, or divided by no step at all."""
    lines = [train(10, 10, 1.0, 10), train(20, 10, 1.0, 10), {**line, "epoch": 90.0}]
    message = refusal(lambda: rows(tmp_path / "run", lines))
    assert f"{tmp_path}/run/metrics.jsonl: is not a run's log (step " in message
