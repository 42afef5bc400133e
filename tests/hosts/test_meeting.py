"""Processes that meet: here as threads, which is what the connections see of them."""

import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from refusals import refusal

from flowseg import hosts
from flowseg.commands.launch import compile_alike
from flowseg.errors import UserError
from flowseg.hosts import meeting
from flowseg.hosts.meeting import Link, Meeting
from flowseg.hosts.place import Place


@pytest.fixture
def address() -> str:
    """A free address of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def meet(*places: Place, seconds: float = 20.0) -> list[Future]:
    """What becomes of the meetings of some processes, which run at the same time."""
    with ThreadPoolExecutor(len(places)) as pool:
        return [pool.submit(Meeting, place, seconds) for place in places]


def places(address: str, *processes: int, of: int) -> list[Place]:
    return [Place(address, of, process) for process in processes]


def refusals(futures: list[Future]) -> set[str]:
    return {refusal(future.result) for future in futures}


def test_every_process_gets_what_all_gave(address: str) -> None:
    meetings = [future.result() for future in meet(*places(address, 2, 1, 0, of=3))]
    with ThreadPoolExecutor(3) as pool:
        for turn in range(3):
            given = [{"turn": turn, "of": process, "x": 0.1} for process in (2, 1, 0)]
            found = list(pool.map(lambda one, value: one.gather(value), meetings, given))
            assert found == [given[::-1]] * 3
    for one in meetings:
        one.leave()


def test_processes_that_do_not_come_are_named(address: str) -> None:
    found = refusals(meet(*places(address, 0, 2, of=4), seconds=3.0))
    assert found == {
        f"2 of 4 processes did not come to {address} within 3 s (process 1, 3); start them, or see what ended them"
    }


def test_an_address_where_nobody_listens(address: str) -> None:
    told = refusal(lambda: Meeting(Place(address, 2, 1), 0.5))
    assert told.startswith(
        f"--coordinator {address}: process 0 does not answer there within 0.5 s (Connection refused)"
    )


def test_a_name_by_which_other_hosts_do_not_reach_process_0_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's /etc/hosts names a host so. On one host it is no mistake."""
    for allowed in (Place("localhost:0", 2, 0), Place("127.0.0.1:0", 2, 0)):
        assert "1 of 2 processes did not come" in refusal(partial(Meeting, allowed, 0.1))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 29500))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **more: found)
    told = refusal(lambda: Meeting(Place("node01:29500", 2, 0), 0.1))
    assert told.startswith("--coordinator node01:29500: node01 is 127.0.1.1 on this host (/etc/hosts), where no other")


def test_a_process_that_ends_before_all_are_there_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Link.send

    def broken(self: Link, message: dict[str, Any]) -> None:
        if message == {"value": "all are here"} and self.host == "gone":
            raise BrokenPipeError
        send(self, message)

    monkeypatch.setattr(Link, "send", broken)
    monkeypatch.setattr(socket, "gethostname", iter(["gone", "node"]).__next__)
    (told,) = refusals(meet(*places(address, 0, 1, of=2)))
    assert told.startswith("process 1 (gone) has ended before all processes were there")


def test_a_process_0_that_is_silent_has_not_ended(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_HELLO", 0.1)
    host, _, port = address.partition(":")
    with socket.create_server((host, int(port))):
        told = refusal(lambda: Meeting(Place(address, 3, 1), 0.2))
    assert told.startswith(f"--coordinator {address}: process 0 does not say within 0.2 s that all 3 processes are")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux")
def test_a_host_that_vanishes_is_noticed_within_30_seconds() -> None:
    """Also amid a message to it, when the kernel sends no keepalive."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = socket.create_connection(server.getsockname())
        link = Link(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        link.close()


def test_an_address_that_is_taken_or_another_machine_s(address: str) -> None:
    host, _, port = address.partition(":")
    with socket.create_server((host, int(port))):
        assert "cannot listen there (Address already in use)" in refusal(lambda: Meeting(Place(address, 2, 0), 1.0))
    assert "cannot listen there" in refusal(lambda: Meeting(Place("192.0.2.1:29500", 2, 0), 1.0))


def test_two_processes_of_one_number(address: str) -> None:
    (told,) = refusals(meet(*places(address, 0, 1, 1, of=3)))
    assert told.startswith("two processes say that they are process 1 (") and "--process-id" in told


def test_other_numbers_of_processes(address: str) -> None:
    (told,) = refusals(meet(Place(address, 2, 0), Place(address, 3, 1)))
    assert told.startswith("process 0 (") and "expects 2 processes, process 1 (" in told and ") 3;" in told


def test_other_programs_that_connect_do_not_disturb(address: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(Meeting, Place(address, 2, 0), 20.0)
        host, _, port = address.partition(":")
        stranger = None
        while stranger is None and not first.done():
            with suppress(OSError):
                stranger = socket.create_connection((host, int(port)))
        assert stranger is not None, first.exception()
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        second = pool.submit(Meeting, Place(address, 2, 1), 20.0)
        for one in (first.result(), second.result()):
            one.leave()
        stranger.close()


def answers(monkeypatch: pytest.MonkeyPatch, *answers: list[Any]) -> None:
    """Lets the processes of a training answer what is given, question by question."""
    waiting = list(answers)
    monkeypatch.setattr(hosts, "gather", lambda value: waiting.pop(0))


def test_what_differs_is_named_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, [["a", {"x": 1, "y": 2}], ["b", {"x": 1, "y": 2}], ["c", {"x": 1, "y": 3}]])
    told = refusal(lambda: hosts.agree("configs", {}, "do this"))
    assert told == "configs: y is 2 on process 0, and 3 on process 2 (c); do this"


@pytest.mark.parametrize(("length", "processes"), [(7, 3), (2, 4), (0, 2), (6, 3)])
def test_the_parts_of_the_processes_are_everything_once_and_the_first_has_most(
    monkeypatch: pytest.MonkeyPatch, length: int, processes: int
) -> None:
    """Process 0 draws the picture of its images, so it has some if there are any."""
    monkeypatch.setattr(hosts, "count", lambda: processes)
    parts = []
    for process in range(processes):
        monkeypatch.setattr(hosts, "index", lambda process=process: process)
        parts.append(list(hosts.own_part(length)))
    assert [one for part in parts for one in part] == list(range(length))
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("platform", "kept"), [("cpu", True), ("gpu", False)])
def test_processes_with_gpus_all_compile(monkeypatch: pytest.MonkeyPatch, platform: str, kept: bool) -> None:
    changed: dict[str, bool] = {}
    monkeypatch.setattr("jax.default_backend", lambda: platform)
    monkeypatch.setattr("jax.config.update", changed.__setitem__)
    compile_alike()
    assert changed.get("jax_enable_compilation_cache", True) is kept


def test_alone_everything_is_trivial(tmp_path: Path) -> None:
    assert (hosts.count(), hosts.index(), hosts.is_first()) == (1, 0, True)
    assert hosts.gather({"a": 1}) == [{"a": 1}] and hosts.from_first(3) == 3
    assert list(hosts.own_part(5)) == [0, 1, 2, 3, 4]
    hosts.agree("configs", {"a": 1}, "")
    hosts.check_shared(tmp_path / "nowhere")
    hosts.stop()
    hosts.fail(UserError("nobody is told"))
