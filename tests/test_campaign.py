"""The campaign finds what it looks for: its judgements and its fuzzer are tested here, the program is not run."""

import io
import json
import zipfile

import numpy as np
import pytest

from flowseg.cli import COMMANDS
from tests.campaign.acts import ACTS, differing
from tests.campaign.mutate import mutated
from tests.campaign.outcome import Outcome

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: x\n"


@pytest.mark.parametrize(
    ("status", "out", "err", "category"),
    [
        (0, "done\n", "", None),
        (1, "", "flowseg: a.png: is damaged; replace it\n", None),
        (1, "", "flowseg: one\nand more\n", "crash"),
        (1, "", "", "crash"),
        (1, "", f"{TRACEBACK}flowseg: x\n", "crash"),
        (0, "", f"Exception ignored in: x\n{TRACEBACK}", "crash"),
        (70, "", "flowseg: unexpected error (x)\n", "crash"),
        (-11, "", "", "crash"),
        (130, "", "", "crash"),
    ],
)
def test_an_end_that_a_command_must_not_have_is_a_finding(
    status: int, out: str, err: str, category: str | None
) -> None:
    fault = Outcome(("eval", "run"), status, out, err).fault()
    assert (fault[0] if fault else None) == category


def test_a_command_that_does_not_end_is_a_finding_and_one_that_was_stopped_is_not() -> None:
    assert Outcome((), -9, "", "", hung=True).fault() == ("hang", "did not end within 60 s")
    assert Outcome((), 130, "", "").fault((0, 130)) is None


def test_products_are_compared_by_name() -> None:
    assert differing({"a": "1", "b": "2"}, {"a": "1", "b": "2"}) == ""
    assert differing({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == "b, c differ"


def test_every_command_is_disturbed() -> None:
    covered = {" ".join(act.words[: len(name.split())]) for act in ACTS.values() for name in COMMANDS}
    # The server does not end by itself, and reads what `predict` reads; `completion` writes into the home folder; the
    # importer needs PyTorch.
    assert set(COMMANDS) - covered == {"app", "completion", "import-torch"}


def test_mutations_are_a_function_of_the_random_numbers() -> None:
    content = json.dumps({"a": [1, {"b": 2.5}], "c": "x"}).encode()
    for suffix in (".json", ".bin"):
        first, second = ([mutated(content, suffix, np.random.default_rng(n)) for n in range(50)] for _ in range(2))
        assert first == second and len(set(first)) > 30


def test_a_changed_archive_is_still_an_archive() -> None:
    """Its members are changed, not only its bytes: the checks of the container would catch those alone."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.json", "[1, 2, 3]")
    whole = 0
    for number in range(40):
        changed = mutated(packed.getvalue(), ".zip", np.random.default_rng(number))
        try:
            with zipfile.ZipFile(io.BytesIO(changed)) as archive:
                whole += archive.read(archive.namelist()[0]) != b"[1, 2, 3]"
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, IndexError):
            continue
    assert whole > 10
