"""The table of encoders: each row makes the encoder that it names, and takes only its own options."""

from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import pytest
from encoders import Counting, run, write_images
from refusals import refusal

from flowseg.embeddings.encoders import ENCODERS, HELP, Options, make_encoder
from flowseg.embeddings.images import find_images


@pytest.mark.parametrize("usage", [row.usage for row in ENCODERS if row.usage != "qwen2.5-vl"])
def test_a_row_makes_the_encoder_of_its_name(tmp_path: Path, usage: str) -> None:
    data = write_images(tmp_path / "data", 2)
    run(data, Counting(), tmp_path / "FILE")
    encoder = usage.replace("FILE", str(tmp_path / "FILE"))
    assert make_encoder(encoder, Options(), find_images(data), data, False).encoder.name == usage.partition(":")[0]


def test_rows_name_options_that_exist_and_are_in_the_help() -> None:
    known = {field.name for field in fields(Options)}
    assert known == {option for row in ENCODERS for option in row.options}
    assert all(f"{row.usage}: {row.about}" in HELP for row in ENCODERS)


def test_every_row_names_a_class() -> None:
    assert all(isinstance(resolve_name(row.made_by), type) for row in ENCODERS)


@pytest.mark.parametrize("encoder", ["image-stats:", "image-stats:x", "shuffled", "shuffled:", ":x", "RANDOM"])
def test_other_names_are_refused(encoder: str) -> None:
    message = refusal(lambda: make_encoder(encoder, Options(), {}, Path("data"), False))
    assert message.startswith(f"--encoder {encoder}: choose one of image-stats, ")
