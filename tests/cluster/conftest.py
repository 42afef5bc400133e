"""A cluster for the tests of a file; one of its nodes may be killed by the last."""

from collections.abc import Iterator

import pytest
from ray_machines import Machines

from flowseg.cluster.connection import Cluster, connected


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    made = Machines()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def cluster(machines: Machines) -> Iterator[Cluster]:
    with connected(machines.address) as found:
        yield found
