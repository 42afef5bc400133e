"""What a run records."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal
from tensorboardX.proto.event_pb2 import Event, SessionLog

from flowseg.evaluation.overlap import overlap_metrics
from flowseg.runs.log import METRICS_FILE, Log, read_metrics


def points(run: Path) -> list[tuple[str, int]]:
    """The points that TensorBoard shows: a start hides all points of earlier files from its step on."""
    shown: list[tuple[str, int]] = []
    for file in sorted((run / "tensorboard").iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                shown = [point for point in shown if point[1] < event.step]
            shown += [(value.tag, event.step) for value in event.summary.value]
    return shown


def test_a_resumed_run_takes_out_what_it_will_measure_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(tmp_path, 0, -1)
    for step in (2, 4, 6):
        log.write("train", step, step / 4, {"steps": 2, "loss": 0.5})
    log.write("val", 4, 1.0, {"dice": 0.5})
    log.close()
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"kind": "train", "st')  # cut off by a crash
    Log(tmp_path, 4, -1).close()
    assert f"{tmp_path / METRICS_FILE}: its last line is not finished" in capsys.readouterr().out
    assert [(m["kind"], m["step"]) for m in read_metrics(tmp_path)] == [("train", 2), ("train", 4)]
    assert capsys.readouterr().out == ""


def test_every_line_is_json_with_step_and_epoch(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, -1)
    log.write("train", 3, 0.75, {"steps": 3, "loss": 0.5, "grad_norm": None})
    log.close()
    (line,) = (tmp_path / METRICS_FILE).read_text().splitlines()
    assert json.loads(line) == {"kind": "train", "step": 3, "epoch": 0.75, "steps": 3, "loss": 0.5, "grad_norm": None}


def test_the_first_steps_of_a_long_epoch_can_be_read_again(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, -1)
    log.write("train", 1, 1 / 30_000, {"steps": 1, "loss": 0.5})
    log.write("train", 2, 2 / 30_000, {"steps": 1, "loss": 0.5})
    log.close()
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [1 / 30_000, 0.0001]


GOOD = b'{"kind": "train", "step": 2, "epoch": 0.5, "steps": 2, "loss": null}\n'


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b'{"kind": "train", "step": 4, "ep\n', "line 2: Unterminated string"),
        (b"\x00\xff\xfe\n", "line 2: "),
        (b"[1]\n", "line 2: no object with a kind"),
        (b"\n", "line 2: "),
        (b"[" * 100_000 + b"\n", "line 2: "),
        (GOOD.replace(b"2,", b'"2",', 1), "line 2: step = '2'"),
        (GOOD.replace(b"2,", b"true,", 1), "line 2: step = True"),
        (GOOD.replace(b"0.5", b"null"), "line 2: epoch = None"),
        (GOOD.replace(b"0.5", b"0.0"), "line 2: epoch = 0.0"),
        (GOOD.replace(b'"steps": 2', b'"steps": 0'), "line 2: steps = 0"),
        (GOOD.replace(b'"steps": 2', b'"steps": 3'), "line 2: steps = 3"),
        (GOOD.replace(b'"step": 2', b'"step": 1000000000000'), "line 2: step = 1000000000000"),
        (GOOD.replace(b"0.5", b"1e9"), "line 2: epoch = 1000000000.0"),
        (GOOD.replace(b"null", b"NaN"), "line 2: loss = nan"),
        (GOOD.replace(b"0.5", b"1" + b"0" * 400), "line 2: "),
        (GOOD.replace(b', "loss": null', b""), "line 2: loss = None"),
        (GOOD.replace(b"null", b"1e308"), "line 2: loss = 1e+308"),
        (GOOD.replace(b"null", b'null, "lr": "0.1"'), "line 2: lr = '0.1'"),
        (b'{"kind": "val", "step": 4, "epoch": 1.0}\n', "line 2: dice = None"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, bad: bytes, told: str) -> None:
    (tmp_path / METRICS_FILE).write_bytes(GOOD + bad + GOOD)
    for call in (lambda: read_metrics(tmp_path), lambda: Log(tmp_path, 2, -1)):
        message = refusal(call)
        assert f"{tmp_path / METRICS_FILE}: is not a run's log ({told}" in message and "remove that line" in message
    assert (tmp_path / METRICS_FILE).read_bytes() == GOOD + bad + GOOD


@pytest.mark.parametrize(("step", "validated"), [(0, -1), (4, -1), (4, 4), (5, 4)])
def test_tensorboard_has_every_point_once_after_a_kill(tmp_path: Path, step: int, validated: int) -> None:
    """It begins again without a checkpoint, from one before the validation at its step or after it, or later."""

    def measure(step: int, validated: int) -> None:
        log = Log(tmp_path, step, validated)
        for now in range(step, 7):
            if now > step:
                log.write("train", now, now / 4, {"steps": 1, "loss": 0.5})
            if now == 4 > validated:
                log.write("val", now, 1.0, {"dice": 0.5})
                log.image("val/samples", now, np.zeros((4, 4, 3), np.uint8))
        # Nothing closes the log: a killed process does not.

    measure(0, -1)
    measure(step, validated)
    train = [(f"3_train/{name}", now) for name in ("loss", "steps") for now in range(1, 7)]
    assert sorted(points(tmp_path)) == [("1_val/dice", 4), ("1_val/samples", 4), *train]


def test_tensorboard_shows_the_validation_dice_first_and_film_below_it(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, -1)
    log.write("train", 4, 1.0, {"steps": 4, "loss": 0.5})
    log.write("val", 4, 1.0, {**overlap_metrics(np.ones((2, 2), bool), np.ones((2, 2), bool)), "images": 2})
    log.write("film", 4, 1.0, {"stage": 0, "gamma_mean": 1.0})
    log.close()
    names = sorted(name for name, _ in points(tmp_path))  # as TensorBoard sorts them
    assert names[0] == "1_val/dice"
    assert list(dict.fromkeys(name.partition("/")[0] for name in names)) == ["1_val", "2_film", "3_train"]


def test_a_full_disk_names_the_run(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, -1)
    log._file.close()
    log._file = Path("/dev/full").open("w")  # noqa: SIM115
    for call in (lambda: log.write("train", 1, 0.5, {"steps": 1, "loss": 0.5}), log.close):
        with pytest.raises(OSError, match="No space left") as caught:
            call()
        assert caught.value.filename == str(tmp_path)
