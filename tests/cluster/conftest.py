"""A connection to the cluster of a file's tests."""

from collections.abc import Iterator

import pytest
from ray_machines import Machines

from flowseg.cluster.connection import Cluster, connected


@pytest.fixture(scope="module")
def cluster(machines: Machines) -> Iterator[Cluster]:
    with connected(machines.address) as found:
        yield found
