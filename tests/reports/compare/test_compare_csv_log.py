"""CSVs of other tools are read as they are, or refused in one line that says where and what to do."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from refusals import refusal

from flowseg.reports.compare import log as log_module
from flowseg.reports.compare.csv_log import read_csv_log
from flowseg.reports.compare.log import Hole, RunLog, with_sources
from flowseg.reports.compare.report import compare_runs
from flowseg.reports.compare.summary import course_of

GOOD = "epoch,train_loss,val_dice\n1,0.5,0.61\n2,,0.62\n3,0.3,\n"
HEADER = "epoch,train_loss,val_dice\n"


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path) -> list[tuple]:
    return [(row.epoch, row.loss, row.dice) for row in read_csv_log(path, "log").rows]


EXPECTED = [(1, 0.5, 0.61), (2, None, 0.62), (3, 0.3, None)]


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.rstrip("\n").encode(),
        GOOD.replace("\n", "\n\n").encode(),
        b'val_dice, epoch ,note,train_loss\n0.61,1,a,0.5\n0.62,2.0,b,\nNaN,3,"c,d",0.3\n',
        GOOD.replace("2,,", "2,nan,").replace("0.3,", "0.3,NA").encode(),
    ],
    ids=["plain", "bom", "crlf", "no last newline", "blank lines", "order, more columns, quotes", "nan"],
)
def test_the_same_log_in_many_writings(tmp_path: Path, content: bytes) -> None:
    assert rows(written(tmp_path, content)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER + "1,abc,0.6\n2,0.1,0.7\n", "line 2: train_loss = 'abc': must be a number, or be left empty"),
        (HEADER + "1,0.1,0.6\n2,0.1,best\n", "line 3: val_dice = 'best': must be a number"),
        (HEADER + "1,0.1,0.6\n2,inf,0.7\n", "line 3: train_loss = 'inf': must be finite"),
        (HEADER + "1,0.1,61.2\n2,0.1,0.7\n", "line 2: val_dice = 61.2: must lie between 0 and 1"),
        (HEADER + "one,0.1,0.6\n2,0.1,0.7\n", "line 2: epoch = 'one': must be a whole number"),
        (HEADER + "1.5,0.1,0.6\n2,0.1,0.7\n", "line 2: epoch = '1.5': must be a whole number"),
        (HEADER + "-1,0.1,0.6\n2,0.1,0.7\n", "line 2: epoch = '-1': must be a whole number from 0 to 1,000,000"),
        (HEADER + "1,0.1,0.6\n1e9,0.1,0.7\n", "line 3: epoch = '1e9': must be a whole number from 0 to 1,000,000"),
        (HEADER + "1,0.1,0.6\n1e12,0.1,0.7\n", "line 3: epoch = '1e12': must be"),
        (HEADER + "1,1e308,0.6\n2,-1e308,0.7\n", "line 2: train_loss = '1e308': is beyond what float32 holds"),
        (HEADER + "inf,0.1,0.6\n2,0.1,0.7\n", "line 2: epoch = 'inf': must be a whole number"),
        (HEADER + "1,0.1,0.6\n3,0.1,0.7\n2,0.1,0.7\n", "line 4: epoch 2 after epoch 3; sort the lines"),
        (HEADER + "1,0.1,0.6\n2,0.1,0.7\n1,0.1,0.7\n", "line 4: epoch 1 is already in line 2"),
        (HEADER, "has no logged epoch; a comparison takes two or more"),
        (HEADER + "1,0.1,0.6\n", "has 1 logged epoch; a comparison takes two or more"),
        (HEADER + "1,0.1,0.6\n2,,\n", "has 1 logged epoch"),
        (HEADER + "1,0.1,\n2,0.2,\n", "has no value of val_dice"),
        ("", "line 1: has no column epoch"),
        ("1,0.1,0.6\n2,0.1,0.7\n", "line 1: has no column epoch"),
        (GOOD.replace(",", ";"), "line 1: has no column epoch; the first line must name epoch, train_loss, val_dice"),
        ("epoch,epoch,train_loss,val_dice\n1,1,0.1,0.6\n", "line 1: has two columns epoch"),
        (HEADER + "1,0.1\n2,0.1,0.7\n", "line 2: 2 values under 3 column names"),
        (HEADER + '1,0.1,"0.6\n2,0.1,0.7\n', "is not a CSV"),
        (GOOD.encode("utf-16"), "is not UTF-8 text"),
        (b"epoch,train_loss,val_dice,\xff\n", "is not UTF-8 text (byte 26)"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = written(tmp_path, content)
    message = refusal(lambda: read_csv_log(path, "log"))
    assert message.startswith(str(path)) and said in message, message


def test_too_many_epochs_are_refused_at_the_first(tmp_path: Path) -> None:
    lines = (f"{epoch},0.1,0.5\n" for epoch in range(200_000))
    path = written(tmp_path, HEADER + "".join(lines))
    assert f"{path}, line 10002: more than 10,000 epochs; keep every" in refusal(lambda: read_csv_log(path, "log"))


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with path.open("a") as file:
        file.truncate(10**12)  # a hole takes no space on the disk
    assert f"{path}: has 1000000 MB, more than the 100 MB" in refusal(lambda: read_csv_log(path, "log"))


def test_the_most_extreme_values_that_are_read_can_be_compared(tmp_path: Path) -> None:
    """Squares and ranges of them are finite, and the axes can be drawn."""
    for name, losses in (("a", ("3.4e38", "-3.4e38")), ("b", ("5e-324", "3.4e38"))):
        rows = [f"{epoch},{losses[epoch % 2]},{epoch % 3 / 2}\n" for epoch in (*range(30), 999_999, 1_000_000)]
        (tmp_path / f"{name}.csv").write_text(HEADER + "".join(rows))
    report = compare_runs([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], tmp_path / "out")
    assert [run["epochs"]["last"] for run in report["runs"]] == [1_000_000] * 2
    assert (tmp_path / "out" / "report.html").stat().st_size < 1e6


def test_what_a_log_lacks_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each jump and fall: a log of 10,000 epochs that goes up and down took minutes."""
    searched: list[int] = []
    find = log_module.holes

    def counted(epochs: Sequence[int]) -> list[Hole]:
        searched.append(len(epochs))
        return find(epochs)

    monkeypatch.setattr(log_module, "holes", counted)
    values = [(epoch, 0.5, epoch % 4 / 4) for epoch in range(0, 600, 2)]
    course = course_of(RunLog("log", Path("log.csv"), *with_sources(values), None))
    assert len(course["falls"]) == 149
    assert len(searched) <= 3


def test_a_folder_is_no_csv(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(lambda: read_csv_log(tmp_path, "log"))
