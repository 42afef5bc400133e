"""A training log that another tool wrote: a CSV of epoch, training loss and validation Dice."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from flowseg.bounds import MOST_EPOCHS
from flowseg.errors import UserError, counted
from flowseg.reports.compare.log import RunLog, with_sources

COLUMNS = ("epoch", "train_loss", "val_dice")

MOST_ROWS = 10_000
"""Logged epochs: the page draws a mark for each. The published runs have 500."""

MOST_BYTES = 100_000_000
"""Of the file, which is read whole: room for hundreds of columns in each of `MOST_ROWS` lines."""

LARGEST_LOSS = float(np.finfo(np.float32).max)
"""What a training in float32 can log. The squares of larger losses would be infinite."""

MISSING = ("", "nan", "na", "null", "none")
"""Texts that stand for a value that was not logged, in upper or lower case."""


def read_csv_log(path: Path, name: str) -> RunLog:
    """Reads a CSV with the columns `COLUMNS`, in any order; other columns are ignored.

    A byte-order mark and Windows line ends are accepted.

    Raises:
        UserError: the file cannot be read, is too large or is not UTF-8, a column is missing or twice, a line has more
            or fewer values than the header, a value is no number or out of range, epochs repeat or run backwards, or
            there are fewer than two epochs, too many, or no Dice value.
    """
    values: list[tuple[int, float | None, float | None]] = []
    line_of: dict[int, int] = {}
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        places = _places(path, next(reader, []))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}, line {reader.line_num}"
            if len(cells) != places["width"]:
                raise UserError(
                    f"{where}: {counted(len(cells), 'value')} under {places['width']} column names; correct the line"
                )
            epoch = _epoch(cells[places["epoch"]], where)
            if epoch in line_of:
                raise UserError(f"{where}: epoch {epoch} is already in line {line_of[epoch]}; keep one of them")
            if values and epoch < values[-1][0]:
                raise UserError(f"{where}: epoch {epoch} after epoch {values[-1][0]}; sort the lines by epoch")
            if len(values) == MOST_ROWS:
                raise UserError(f"{where}: more than {MOST_ROWS:,} epochs; keep every tenth line, for example")
            line_of[epoch] = reader.line_num
            loss = _number(cells[places["train_loss"]], "train_loss", where)
            dice = _number(cells[places["val_dice"]], "val_dice", where)
            if dice is not None and not 0 <= dice <= 1:
                raise UserError(f"{where}: val_dice = {dice:g}: must lie between 0 and 1, or be left empty")
            values.append((epoch, loss, dice))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not a CSV ({error}); correct the line") from None
    # An epoch without any value was not logged.
    values = [value for value in values if value[1] is not None or value[2] is not None]
    if len(values) < 2:
        raise UserError(f"{path}: has {len(values) or 'no'} logged epoch; a comparison takes two or more")
    if all(dice is None for _, _, dice in values):
        raise UserError(f"{path}: has no value of val_dice; a comparison takes one or more")
    rows, carried = with_sources(values)
    return RunLog(name, path, rows, carried, None)


def _text(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            limit = f"more than the {MOST_BYTES / 1e6:.0f} MB that are read at most"
            raise UserError(f"{path}: has {size / 1e6:.0f} MB, {limit}; keep the columns {', '.join(COLUMNS)}")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a run folder or a CSV") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _places(path: Path, header: list[str]) -> dict[str, int]:
    """The position of each column, and the number of columns as `width`."""
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            what = "two columns" if column in names else "no column"
            raise UserError(
                f"{path}, line 1: has {what} {column}; the first line must name {', '.join(COLUMNS)}, with commas "
                "between"
            )
    return {"width": len(names), **{column: names.index(column) for column in COLUMNS}}


def _epoch(text: str, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer() or not 0 <= value <= MOST_EPOCHS:
        raise UserError(f"{where}: epoch = {text.strip()!r}: must be a whole number from 0 to {MOST_EPOCHS:,}")
    return int(value)


def _number(text: str, column: str, where: str) -> float | None:
    if text.strip().lower() in MISSING:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}: {column} = {text.strip()!r}: must be a number, or be left empty") from None
    if not math.isfinite(value):
        raise UserError(f"{where}: {column} = {text.strip()!r}: must be finite, or be left empty")
    if abs(value) > LARGEST_LOSS:
        raise UserError(f"{where}: {column} = {text.strip()!r}: is beyond what float32 holds; leave it empty")
    return value
