"""Which images of a prediction are finished: what an interrupted one leaves, and what `--resume` takes up.

While images are segmented, `prediction.jsonl` in the output folder records how they are made (the first line, before
there is any output) and each one that is finished. At the end `prediction.json` takes its place.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np

from flowseg.data.dataset import NetworkInput
from flowseg.data.inputs import Input
from flowseg.errors import UserError
from flowseg.evaluation.arrays import Mask
from flowseg.files import naming, parse_json, write_text

JOURNAL = "prediction.jsonl"
SUMMARY = "prediction.json"
HOW = ("weights", "eval", "threshold", "min_component")
"""What makes the outputs of an image, besides the image: its names in both files."""


def input_digest(item: Input, given: NetworkInput, inside: Mask | None) -> str:
    """Returns a digest of all that the outputs of an image depend on: pixels, embedding, field of view."""
    made = hashlib.blake2b(digest_size=16)
    for array in (item.image, given.image, given.embedding, inside):
        made.update(b"-" if array is None else repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


class Finished(AbstractContextManager["Finished"]):
    """The images that are finished in an output folder.

    Args:
        out: the folder.
        how: the values of HOW for this prediction.
        inputs: digests of its images by name.
        outputs: the files that each image gets, by its name and their kind.
        resume: whether finished images are kept.

    Raises:
        UserError: with `resume`, the folder holds outputs of these images that were made otherwise, or that are not
            recorded.
    """

    def __init__(
        self,
        out: Path,
        how: dict[str, Any],
        inputs: dict[str, str],
        outputs: Mapping[str, Mapping[str, Path]],
        resume: bool,
    ):
        self._out, self._how = out, parse_json(json.dumps(how))
        self._file: IO[str] | None = None
        self.rows: dict[str, dict[str, Any]] = {}
        """What is recorded of each finished image, by name."""
        if resume:
            self._read(inputs, outputs)

    def _read(self, inputs: dict[str, str], outputs: Mapping[str, Mapping[str, Path]]) -> None:
        remedy = "choose another --out, or leave --resume out to segment all images again"
        found = _recorded(self._out)
        if found is None:
            made = next((file for files in outputs.values() for file in files.values() if file.exists()), None)
            if made is not None:
                raise UserError(f"{made}: nothing in its folder says how it was made; {remedy}")
            return
        file, how, rows = found
        for name, value in self._how.items():
            if how.get(name) != value:
                raise UserError(f"{file}: its images were made otherwise ({name} differs); {remedy}")
        for row in rows:
            name = row["name"]
            if name not in inputs:
                continue  # of an earlier call with other images; its outputs stay
            if row["input"] != inputs[name]:
                raise UserError(
                    f"{file}: its {name} was made of other pixels, another embedding or field of view; {remedy}"
                )
            if all(made.exists() for made in outputs[name].values()):
                self.rows[name] = row

    def begin(self) -> None:
        """Records how images are made, in place of what an earlier call has recorded; has to come before any output.

        Otherwise outputs of this call, if it is killed, would count as those of the earlier one. A second call does
        nothing.
        """
        if self._file is not None:
            return
        with naming(self._out / JOURNAL):
            lines = [self._how, *self.rows.values()]
            write_text(self._out / JOURNAL, "".join(json.dumps(line) + "\n" for line in lines))
            (self._out / SUMMARY).unlink(missing_ok=True)
            self._file = (self._out / JOURNAL).open("a")

    def add(self, row: dict[str, Any]) -> None:
        """Records that an image is finished: all its outputs are written."""
        assert self._file is not None, "begin has not been called"
        with naming(self._out / JOURNAL):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        self.rows[row["name"]] = row

    def close(self, summary: dict[str, Any]) -> None:
        """Writes the record of the whole prediction in place of that of single images."""
        self.__exit__()
        write_text(self._out / SUMMARY, json.dumps(summary, indent=2) + "\n")
        (self._out / JOURNAL).unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        """Closes the record; after an error the finished images stay in it."""
        if self._file is not None:
            with naming(self._out / JOURNAL):
                self._file.close()
            self._file = None


def _recorded(out: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]] | None:
    """Returns the record in a folder: its file, how images were made, and the finished ones; None if there is none."""
    for name in (JOURNAL, SUMMARY):
        file = out / name
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            continue
        try:
            if name == JOURNAL:
                how, *rows = map(parse_json, text.split(b"\n")[:-1])  # what comes after the last line feed is torn
            else:
                how = parse_json(text)
                rows = how["images"]
            if all(isinstance(row["name"], str) and isinstance(row["input"], str) for row in rows):
                return file, dict(how), list(rows)
        except (ValueError, KeyError, TypeError):
            pass
        raise UserError(
            f"{file}: does not say how its images were made (it is damaged, or of an older flowseg); "
            "leave --resume out to segment all images again"
        )
    return None
