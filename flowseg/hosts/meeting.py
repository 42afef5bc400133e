"""The processes of a training meet at an address, and stay connected as long as they live.

Process 0 listens there. The others connect to it, say who they are, and keep the connection: values that the processes
exchange go through it, and when it breaks, its process has ended. JAX's own runtime would notice that after its
heartbeats only, and end the process with a page of text.
"""

import ipaddress
import json
import os
import queue
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

from flowseg.errors import UserError, tell
from flowseg.hosts.place import Place

_HELLO = 10.0
"""Seconds that a connection may take to say who it is."""
_FAREWELL = 5.0
"""Seconds that process 0 waits for the others to end, once one is lost. If it goes first, they end with JAX's text."""
_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
"""After 30 seconds without an answer from the other host, a connection counts as broken; the last is in milliseconds.

The first three hold for a connection without traffic; the last one, which Linux has, for data that is sent.
"""


class Disagreement(UserError):
    """Something that differs between the processes. All of them raise it."""


class Link:
    """A connection to another process: messages are lines of JSON."""

    def __init__(self, connection: socket.socket):
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.host = ""
        self.values: queue.Queue[Any] = queue.Queue()
        self.closed = threading.Event()
        self._connection, self._lines = connection, connection.makefile("r", encoding="utf-8")
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message; raises an OSError if the connection is broken."""
        with self._sending:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Returns the next message; raises an OSError if the connection is broken, and a ValueError if it is none."""
        self._connection.settimeout(seconds)
        line = self._lines.readline(1 << 30)
        self._connection.settimeout(None)
        if not line:
            raise ConnectionResetError("closed")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no message")
        return message

    def close(self) -> None:
        """Closes the connection."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class Meeting:
    """The connections of one process: process 0 has one to each of the others, which have one to process 0.

    Args:
        place: this process's.
        seconds: how long it waits for the others.

    Raises:
        UserError: not all come in time, two say they are the same one, or they expect different numbers of processes.
    """

    def __init__(self, place: Place, seconds: float):
        self._place = place
        self._links: dict[int, Link] = {}
        self._ending = threading.Lock()
        deadline = time.monotonic() + seconds
        if place.process == 0:
            self._receive_others(deadline, seconds)
        else:
            self._join(deadline, seconds)
        for process, link in self._links.items():
            threading.Thread(target=self._listen, args=(process, link), daemon=True).start()

    def gather(self, value: Any) -> list[Any]:
        """Returns what each process gave, in their order; every process must call this. Values pass through JSON."""
        if self._place.process:
            link = self._links[0]
            self._send(0, {"value": value})
            return list(link.values.get())
        values = [json.loads(json.dumps(value)), *(link.values.get() for _, link in sorted(self._links.items()))]
        for process in self._links:
            self._send(process, {"value": values})
        return values

    def fail(self, message: str) -> None:
        """Tells the other processes why this one ends, and waits until they have ended, or some seconds."""
        if not self._ending.acquire(blocking=False):  # what the others say from now on is a consequence
            threading.Event().wait()  # another thread is ending this process
        self._spread(f"process {self._place.process} ({socket.gethostname()}) has ended: {message}")

    def leave(self) -> None:
        """Closes the connections; the others are told that this is not a failure."""
        self._ending.acquire(blocking=False)
        for link in self._links.values():
            with suppress(OSError):
                link.send({"bye": True})
            link.close()

    def _receive_others(self, deadline: float, seconds: float) -> None:
        """Waits for all other processes, and tells them that all are there."""
        place, host, port = self._place, *self._place.address
        try:
            _check_not_loopback(place)
            server = socket.create_server((host, port), family=family(host, port))
        except OSError as error:
            raise UserError(
                f"--coordinator {place.coordinator}: process 0 cannot listen there ({_reason(error)}); give "
                "an address of the host that it runs on, and a port that no other program or training uses"
            ) from None
        with server:
            while len(self._links) < place.processes - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    self._welcome(Link(server.accept()[0]))
                except TimeoutError:
                    missing = [str(i) for i in range(1, place.processes) if i not in self._links]
                    self._refuse(
                        f"{len(missing)} of {place.processes} processes did not come to {place.coordinator} within "
                        f"{seconds:g} s (process {', '.join(missing)}); start them, or see what ended them"
                    )
        for process, link in self._links.items():
            try:
                link.send({"value": "all are here"})
            except OSError:
                self._refuse(
                    f"process {process} ({link.host}) has ended before all processes were there; see its message, "
                    "then start all again"
                )

    def _welcome(self, link: Link) -> None:
        try:
            hello = link.receive(_HELLO)
            process, link.host = int(hello["process"]), str(hello["host"])
            expected = int(hello["processes"])
        except (OSError, ValueError, KeyError, TypeError):
            link.close()  # another program
            return
        place, other = self._place, self._links.get(process)
        self._links[process if other is None else -1] = link
        if expected != place.processes:
            self._refuse(
                f"process 0 ({socket.gethostname()}) expects {place.processes} processes, process {process} "
                f"({link.host}) {expected}; give all the same --processes"
            )
        if other is not None:
            self._refuse(
                f"two processes say that they are process {process} ({other.host}, {link.host}); "
                "give each its own --process-id, from 0"
            )

    def _refuse(self, message: str) -> NoReturn:
        for link in self._links.values():
            with suppress(OSError):
                link.send({"refused": message})
        raise UserError(message)

    def _join(self, deadline: float, seconds: float) -> None:
        """Connects to process 0, and waits until all processes are there."""
        place = self._place
        while True:
            try:
                connection = socket.create_connection(place.address, timeout=max(deadline - time.monotonic(), 0.001))
                break
            except OSError as error:
                if time.monotonic() + 0.2 > deadline:
                    raise UserError(
                        f"--coordinator {place.coordinator}: process 0 does not answer there within {seconds:g} s "
                        f"({_reason(error)}); start it on that host, or correct the address"
                    ) from None
                time.sleep(0.2)
        link = self._links[0] = Link(connection)
        link.host = place.address[0]
        try:
            link.send({"process": place.process, "processes": place.processes, "host": socket.gethostname()})
            answer = link.receive(max(deadline - time.monotonic(), 0) + _HELLO)
        except TimeoutError:
            raise UserError(
                f"--coordinator {place.coordinator}: process 0 does not say within {seconds:g} s that all "
                f"{place.processes} processes are there; start them within this time, or give all a larger "
                "--peer-timeout"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(
                f"--coordinator {place.coordinator}: process 0 has ended before all processes were there ({error}); "
                "see its message, then start all again"
            ) from None
        if "refused" in answer:
            raise UserError(str(answer["refused"]))

    def _listen(self, process: int, link: Link) -> None:
        """Takes what another process sends, until it ends."""
        try:
            while True:
                message = link.receive()
                if "value" in message:
                    link.values.put(message["value"])
                elif "failed" in message:
                    self._end(str(message["failed"]))
                elif "bye" in message:
                    return
        except (OSError, ValueError):
            link.closed.set()
            self._end(f"process {process} ({link.host}) has ended: it was killed, or its host cannot be reached")
        finally:
            link.closed.set()

    def _send(self, process: int, message: dict[str, Any]) -> None:
        try:
            self._links[process].send(message)
        except OSError:
            self._links[process].closed.wait()  # the thread that listens ends this process
            threading.Event().wait()

    def _end(self, message: str) -> None:
        """Ends this process with one line, since another one has ended; not if it is ending already."""
        if not self._ending.acquire(blocking=False):
            return
        self._spread(message)
        end_process(f"{message}; start all processes again, with --resume to continue")

    def _spread(self, message: str) -> None:
        """Tells the other processes why they must end. Process 0 waits for them: JAX's runtime ends with it."""
        for link in self._links.values():
            with suppress(OSError):
                link.send({"failed": message})
        if self._place.process == 0:
            deadline = time.monotonic() + _FAREWELL
            for link in self._links.values():
                link.closed.wait(max(deadline - time.monotonic(), 0))


def end_process(message: str) -> NoReturn:
    """Prints a message and ends this process; can be called from any thread."""
    with suppress(OSError):
        sys.stdout.flush()
    tell(message)
    os._exit(1)


def family(host: str, port: int) -> socket.AddressFamily:
    """Returns the address family (IPv4 or IPv6) of a host's name."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


def _check_not_loopback(place: Place) -> None:
    """Raises a UserError if other hosts could not reach process 0, because its host's name means the host itself.

    Debian gives a host's name the address 127.0.1.1 in /etc/hosts.
    """
    host, port = place.address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    if host == "localhost" or host == found or not ipaddress.ip_address(found).is_loopback:
        return
    raise UserError(
        f"--coordinator {place.coordinator}: {host} is {found} on this host (/etc/hosts), where no other host can "
        "connect; give its address in the network"
    )


def _reason(error: OSError) -> str:
    # Python adds the address to some of the texts.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
