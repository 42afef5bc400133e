"""Which process of a training this is: options, and what Slurm, Open MPI and Kubernetes set."""

from collections.abc import Mapping

import pytest
from refusals import refusal

from flowseg.hosts.place import Place, find_place

SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "gpu[007-008,011],login1",
}
MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}


@pytest.mark.parametrize(
    ("options", "environ", "place"),
    [
        ((None, None, None), {}, None),
        (("node01:29500", 2, 1), {}, Place("node01:29500", 2, 1)),
        (("node01:29500", 1, 0), {}, None),
        (("[fe80::1]:29500", 2, 0), {}, Place("[fe80::1]:29500", 2, 0)),
        ((None, None, None), SLURM, Place("gpu007:23456", 4, 2)),
        ((None, None, None), SLURM | {"SLURM_STEP_NODELIST": "a-1,b2"}, Place("a-1:23456", 4, 2)),
        (
            (None, None, None),
            SLURM | {"SLURM_STEP_NODELIST": "rack[1-2]node[03-04]"},
            Place("rack1node03:23456", 4, 2),
        ),
        ((None, None, None), SLURM | {"SLURM_STEP_NODELIST": "gpu[02,01].a.org,b"}, Place("gpu02.a.org:23456", 4, 2)),
        (("node01:29500", 4, None), SLURM, Place("node01:29500", 4, 2)),
        # One task, or a batch script, is alone.
        ((None, None, None), SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        ((None, None, None), {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, None),
        (("node01:29500", None, None), MPI, Place("node01:29500", 2, 1)),
        (("node01:29500", None, None), SLURM | MPI, Place("node01:29500", 2, 1)),
        ((None, 1, None), SLURM, None),
        ((None, 1, None), MPI, None),
        ((None, None, None), {"JOB_COMPLETION_INDEX": "1"}, None),
        (("pod-0.s:29500", 2, None), {"JOB_COMPLETION_INDEX": "1"}, Place("pod-0.s:29500", 2, 1)),
    ],
)
def test_places(
    options: tuple[str | None, int | None, int | None], environ: Mapping[str, str], place: Place | None
) -> None:
    assert find_place(*options, environ) == place


def test_addresses() -> None:
    assert Place("node01:29500", 2, 1).address == ("node01", 29500)
    assert Place("[::1]:29500", 2, 1).address == ("::1", 29500)


@pytest.mark.parametrize(
    ("options", "environ", "told"),
    [
        ((None, 2, 1), {}, "--processes and --process-id: give --coordinator, too"),
        (("node01:29500", None, None), {}, "--coordinator: give --processes and --process-id, too"),
        (("node01", 2, 1), {}, "--coordinator node01: give HOST:PORT"),
        (("node01:70000", 2, 1), {}, "--coordinator node01:70000: give HOST:PORT"),
        (("node01:29500", 2, 2), {}, "--process-id 2: must lie between 0 and 1"),
        ((None, 2, None), SLURM, "--processes 2: Slurm has set SLURM_STEP_NUM_TASKS = 4"),
        ((None, None, 1), SLURM, "--process-id 1: Slurm has set SLURM_PROCID = 2"),
        ((None, None, None), MPI, "Open MPI has started 2 processes (OMPI_COMM_WORLD_SIZE): give all of them --coord"),
        ((None, None, None), SLURM | {"SLURM_JOB_ID": "1_2"}, "SLURM_JOB_ID = 1_2: is not a number"),
    ],
)
def test_options_that_lack_something_or_contradict_the_launcher(
    options: tuple[str | None, int | None, int | None], environ: Mapping[str, str], told: str
) -> None:
    assert refusal(lambda: find_place(*options, environ)).startswith(told)
