"""The command refuses bad config files and options with one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import BASELINE


def test_unknown_field_in_a_config_file(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from flowseg.config import Config, DataConfig\nconfig = Config(data=DataConfig(cropp=64))\n")
    message = refused("train", file)
    assert str(file) in message and "unknown config field cropp: remove it" in message


def test_wrong_type_in_a_config_file(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from flowseg.config import Config\nconfig = Config(seed='1')\n")
    assert f"{file}: seed = '1': expected int" in refused("params", file)


@pytest.mark.parametrize("text", ["", "config = 3\n", "config = (\n", "import nothing_of_this_name\n", "\0"])
def test_a_file_that_is_no_config(refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert str(file) in refused("train", file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys\nsys.exit(0)\n", "SystemExit: 0 (line 2)"),
        ("1 / 0\n", "ZeroDivisionError: division by zero (line 1)"),
        ("\n\nconfig = x\n", "NameError: name 'x' is not defined (line 3)"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines (line 1)"),
        ("open('/no/such/file')\n", "FileNotFoundError: "),
        ("import json\njson.loads('{')\n", "JSONDecodeError: "),
    ],
)
def test_a_config_that_raises(refused: Callable[..., str], tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert f"{file}: {told}" in refused("params", file)


@pytest.mark.parametrize("name", ["basline", "configs/vlm_film", "no/such/file.py", "."])
@pytest.mark.parametrize("command", ["train", "params", "doctor"])
def test_neither_a_file_nor_the_name_of_a_config(refused: Callable[..., str], command: str, name: str) -> None:
    message = refused(command, name)
    assert f"{name}: no such config; give a file, or one of baseline, gaussian, supervised, vlm_film" in message


def test_the_config_comes_first(refused: Callable[..., str]) -> None:
    assert "give the config first" in refused("params", "--seed", 1, BASELINE)


def test_an_option_given_twice(refused: Callable[..., str]) -> None:
    message = refused("train", BASELINE, "--preset", "auto", "--preset=full")
    assert "--preset is given twice, as 'auto' and 'full'" in message
    assert "--data.max-side is given twice" in refused(
        "params", BASELINE, "--data.max_side", 64, "--data.max-side", 32
    )
    assert "--flow.sigma is given twice" in refused(
        "params", BASELINE, "--flow.sigma", 1, "--seed", 2, "--flow.sigma", 2
    )


@pytest.mark.parametrize("command", ["train", "params"])
def test_no_config_file_at_all(refused: Callable[..., str], command: str) -> None:
    message = refused(command)
    assert "config" in message.lower() and f"flowseg {command} --help" in message


def test_unknown_option(refused: Callable[..., str], data: Path) -> None:
    message = refused("train", BASELINE, "--data.root", data, "--data.cropp", "32")
    assert "--data.cropp" in message and "flowseg train --help" in message


@pytest.mark.parametrize(
    ("option", "value"),
    [("--seed", "one"), ("--train.epochs", "1.5"), ("--precision", "half"), ("--data.flip", "often")],
)
def test_option_of_the_wrong_type(refused: Callable[..., str], option: str, value: str) -> None:
    message = refused("train", BASELINE, option, value)
    assert option in message and value in message


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--data.crop", "60", "data.crop = 60: must be a multiple of 8"),
        ("--data.flip", "1.5", "data.flip = 1.5: is a probability"),
        ("--name", "a/b", "name = 'a/b': must be a plain file name"),
    ],
)
def test_option_out_of_range(refused: Callable[..., str], option: str, value: str, told: str) -> None:
    assert told in refused("train", BASELINE, option, value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model.dim", 80_000_000), "model.dim = 80000000: must be a multiple of 8 from 8 to 1024"),
        (("--model.dim", 1024, "--model.multipliers", 64, 64), "too little memory on cpu"),
        (("--data.crop", 16_384), "too little memory on cpu"),
        (("--train.batch", 65_536, "--data.crop", 8192), "train.batch = 65536: takes "),
        (("--eval.window-batch", 65_536, "--eval.ensemble", 10_000), "eval.ensemble = 10000: takes "),
        (("--train.epochs", 10**6, "--train.epoch-steps", 10**5), "must give at most 2,147,483,647 steps"),
        (("--data.rotate-degrees", 1e308), "data.rotate_degrees = 1e+308: must be at most 180"),
    ],
)
def test_absurd_settings(train_on: Callable[..., str], options: tuple[object, ...], told: str) -> None:
    assert told in train_on(*options, "--model.full-attention-levels", 1)


def test_an_output_folder_that_is_a_file(train_on: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path}/file: cannot be made" in train_on("--out", tmp_path / "file")


def test_batch_that_the_devices_cannot_share(train_on: Callable[..., str]) -> None:
    assert "train.batch = 6: is not divisible by the 4 devices" in train_on("--train.batch", 6)


def test_batch_that_the_given_devices_cannot_share(train_on: Callable[..., str]) -> None:
    assert "train.batch = 4: is not divisible by the 3 devices" in train_on("--devices", 3)


def test_more_devices_than_there_are(train_on: Callable[..., str]) -> None:
    assert "devices = 8: this machine has 4" in train_on("--devices", 8, "--train.batch", 8)
