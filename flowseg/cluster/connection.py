"""Connects to a Ray cluster, and finds out whether its nodes can do the work."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

from flowseg import software
from flowseg.cluster.folder import SharedFolder
from flowseg.cluster.worker import Each, Node, last_line, look_around
from flowseg.errors import UserError, counted, pip_install
from flowseg.files import SEEN_SECONDS
from flowseg.progress import console

LOCAL = "local"
AUTO = "auto"
REACH_SECONDS = 10.0
"""Within this time an address must accept a connection."""
CONNECT_SECONDS = 90
"""Within this time Ray must have connected; it would try for minutes."""
_LOOK_SECONDS = 120.0
"""Within this time every node must have answered; the first worker of a node takes seconds to start."""
_FREE_SECONDS = 10.0
"""After this time a line says that what is asked for is in use."""
_STORE_BYTES = 100_000_000
"""Memory for Ray's objects in a cluster of this machine alone. Pieces exchange files, so it stays all but empty."""


@dataclass(frozen=True)
class Cluster:
    """A connected cluster."""

    ray: ModuleType
    address: str

    def nodes(self) -> list[dict[str, Any]]:
        """Returns the nodes that are alive, as Ray describes them."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def largest(self, resource: str) -> int:
        """Returns how much of a resource (CPU, GPU) the node with most of it has."""
        return max((int(node["Resources"].get(resource, 0)) for node in self.nodes()), default=0)

    def total(self, resource: str) -> int:
        """Returns how much of a resource all nodes have."""
        return sum(int(node["Resources"].get(resource, 0)) for node in self.nodes())

    def fits(self, each: Each) -> bool:
        """Returns whether some node could run a piece if it had nothing else to do."""
        return any(
            node["Resources"].get("CPU", 0) >= each.cpus and node["Resources"].get("GPU", 0) >= each.gpus
            for node in self.nodes()
        )

    def at_once(self, each: Each) -> int:
        """Returns how many pieces can run at the same time."""
        found = 0
        for node in self.nodes():
            room = int(node["Resources"].get("CPU", 0)) // each.cpus
            found += min(room, int(node["Resources"].get("GPU", 0)) // each.gpus) if each.gpus else room
        return found

    def share(self, pieces: int, cpus: int | None, gpus: int | None) -> Each:
        """Returns what each of so many pieces gets: what is asked for, or else a GPU, or else its part of the cores.

        Raises:
            UserError: no node has as much.
        """
        gpus = min(1, self.largest("GPU")) if gpus is None else gpus
        if cpus is None:
            cpus = 1 if gpus else max(1, min(self.largest("CPU"), self.total("CPU") // max(1, pieces)))
        each = Each(cpus, gpus)
        if not self.fits(each):
            has = f"{counted(self.largest('CPU'), 'core')} and {counted(self.largest('GPU'), 'GPU')}"
            raise UserError(
                f"--cluster {self.address}: no node has {each}; the largest has {has}; give --cpus-each or --gpus-each"
            )
        return each

    def check(self, shared: SharedFolder, seconds: float = SEEN_SECONDS) -> None:
        """Raises a UserError if a node does not see the folder of the work or runs other software.

        The folder must be claimed; within `seconds` its token must be seen.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {}
        for node in self.nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = self.ray.remote(look_around).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            asked[task.remote(str(shared.path.absolute()), shared.token, seconds)] = node["NodeManagerHostname"]
        _, silent = self.ray.wait(list(asked), num_returns=len(asked), timeout=_LOOK_SECONDS)
        if silent:
            raise UserError(f"node {asked[silent[0]]}: does not answer within {_LOOK_SECONDS:.0f} s; take it out")
        for answer, host in asked.items():
            try:
                found: Node = self.ray.get(answer)
            except self.ray.exceptions.RayError as error:
                raise UserError(
                    f"node {host}: cannot run flowseg ({last_line(str(error))}); install the same flowseg there, in "
                    "the environment that `ray start` ran in"
                ) from None
            if not found.sees_folder:
                raise UserError(
                    f"{shared.path}: node {found.host} does not see this folder; give --out on storage that all nodes "
                    "share"
                )
            for name, ours in software.facts().items():
                if (theirs := found.software.get(name)) != ours:
                    raise UserError(
                        f"node {found.host}: {name} is {theirs} there and {ours} here; install the same on all nodes"
                    )

    def ask(self, question: Callable[[], str], each: Each) -> str:
        """Returns what a function answers on a worker that has the resources of a piece.

        It waits as long as others use these resources, and says so.

        Raises:
            UserError: it fails there.
        """
        task = self.ray.remote(question).options(num_cpus=each.cpus, num_gpus=each.gpus, max_retries=0, max_calls=1)
        answer = task.remote()
        ready, _ = self.ray.wait([answer], timeout=_FREE_SECONDS)
        if not ready:
            console.print(f"cluster {self.address}: waiting until {each} are free")
        while not ready:
            ready, _ = self.ray.wait([answer], timeout=_FREE_SECONDS)
        try:
            return str(self.ray.get(answer))
        except self.ray.exceptions.RayError as error:
            reason = last_line(str(error))
            raise UserError(f"--cluster {self.address}: a worker with {each} fails ({reason})") from None


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connects to a cluster while the block runs.

    Args:
        address: `local` starts one on this machine and ends it after the block; `auto` is the one that this machine is
            a node of; HOST:PORT is the one with its head there, of which this machine must be a node, too.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError(f"--cluster needs Ray; install it with: {pip_install('flowseg[cluster]')}") from None
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "critical", "address": address}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray's makers are told of every start
        os.environ.setdefault("RAY_worker_niceness", "0")  # else 15: anything else on this machine goes first
        settings |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    elif address != AUTO:
        _reach(address)
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _at_most(CONNECT_SECONDS):
            ray.init(**settings)
    except Exception as error:  # Ray raises all kinds, also a bare Exception
        ray.shutdown()
        reason = " ".join(str(error).split())[:200]
        remedies = {
            LOCAL: "try again when this machine is less busy, or see /tmp/ray/session_latest/logs",
            AUTO: "start one with: ray start --head, or give --cluster local",
        }
        remedy = remedies.get(address, "check the address")
        raise UserError(f"--cluster {address}: cannot be used ({reason}); {remedy}") from None
    finally:
        for signum, handler in handlers.items():  # Ray sets its own for SIGTERM
            signal.signal(signum, handler)
    try:
        yield Cluster(ray, address)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises a UserError if an address is none, or accepts no connection."""
    found = re.fullmatch(r"\[?(?P<host>[^\s\[\]/]+)\]?:(?P<port>\d{1,5})", address)
    if found is None or not 0 < int(found["port"]) < 65536:
        remedy = "give local, auto or HOST:PORT, on a machine that is a node of the cluster"
        raise UserError(f"--cluster {address}: is no address; {remedy}")
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=REACH_SECONDS).close()
    except OSError as error:
        reason = error.strerror or f"no answer within {REACH_SECONDS:.0f} s"
        raise UserError(
            f"--cluster {address}: cannot be reached ({reason}); check address and port of the head"
        ) from None


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raises a TimeoutError in the block once it takes longer. Used in the main thread."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no Ray answers there within {seconds} s")

    previous = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
