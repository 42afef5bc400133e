"""A Ray cluster of two nodes on this machine."""

import socket
from contextlib import ExitStack
from typing import Any


class Machines:
    """Two nodes with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 8, "worker_niceness": 0}
        self._nodes = Nodes(initialize_head=True, head_node_args={**node(), "_system_config": quick})
        self.second: Any = self._nodes.add_node(**node())
        self.address: str = self._nodes.address

    def kill_second(self) -> None:
        self._nodes.remove_node(self.second, allow_graceful=False)

    def shutdown(self) -> None:
        self._nodes.shutdown()


def node() -> dict[str, Any]:
    """Returns the arguments of a node. Ray gives up a node whose agents do not tell their ports within 15 s."""
    ports = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("", 0))).getsockname()[1] for _ in ports]
    return {"num_cpus": 1, "object_store_memory": 80_000_000, **dict(zip(ports, free, strict=True))}
