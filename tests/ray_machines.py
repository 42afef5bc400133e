"""A Ray cluster of two nodes on this machine."""

from typing import Any

TRIES = 6


class Machines:
    """Two nodes with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 8, "worker_niceness": 0}
        self._nodes = Nodes()
        self._add(_system_config=quick)
        self.second = self._add()
        self.address: str = self._nodes.address

    def _add(self, **settings: Any) -> Any:
        """Adds a node. Ray gives one up whose agents have not started within 15 s, as on a busy machine."""
        for left in reversed(range(TRIES)):
            try:
                return self._nodes.add_node(num_cpus=1, object_store_memory=80_000_000, **settings)
            except Exception:
                if not left:
                    raise

    def kill_second(self) -> None:
        self._nodes.remove_node(self.second, allow_graceful=False)

    def shutdown(self) -> None:
        self._nodes.shutdown()
