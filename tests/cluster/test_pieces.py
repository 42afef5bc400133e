"""Pieces of work on two Ray nodes of this machine: lost workers and nodes, errors, stops.

The command of a piece is `flowseg params`, which runs a config file: the file is what a test wants it to be.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("ray", reason="needs the cluster extra: pip install 'flowseg[cluster]'")
from ray_machines import Machines
from refusals import refusal

from flowseg.cluster.connection import Cluster
from flowseg.cluster.folder import SharedFolder
from flowseg.cluster.pieces import Piece, run_pieces
from flowseg.cluster.worker import Each
from flowseg.training.interrupt import Interrupted

pytestmark = pytest.mark.cluster
ONE = Each(1, 0)
# Says when it starts and, if it is stopped, when it has ended a second later. Its first start waits to be stopped.
SLOW = """
import os, signal, time
from flowseg.config import Config
def say(what):
    with open({log!r}, "a") as file:
        file.write(f"{{what}} {{os.getppid()}}\\n")
def end(signum, frame):
    say("stopping")
    time.sleep(1)
    say("stopped")
    os._exit(143)
signal.signal(signal.SIGTERM, end)
first = not os.path.exists({log!r})
say("started")
if first:
    time.sleep(600)
config = Config()
"""
QUICK = "from flowseg.config import Config\nconfig = Config()\n"


@pytest.fixture
def piece(tmp_path: Path) -> Callable[[str, str], Piece]:
    def make(name: str, program: str) -> Piece:
        config = tmp_path / f"{name}.py"
        config.write_text(program.format(log=str(tmp_path / f"{name}.log")))
        return Piece(name, ["params", str(config)])

    return make


def run(cluster: Cluster, folder: Path, pieces: list[Piece]) -> None:
    shared = SharedFolder(folder / "shared")
    with shared.claimed():
        run_pieces(cluster, shared, pieces, ONE, "things")


def said(tmp_path: Path, name: str) -> list[tuple[str, int]]:
    log = tmp_path / f"{name}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(words[0], int(words[1])) for words in map(str.split, lines)]


def wait_for(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def when_started(tmp_path: Path, name: str, act: Callable[[int], None]) -> Thread:
    """Calls `act` with the process id of a piece's worker once the piece runs, from a thread."""

    def wait() -> None:
        wait_for(lambda: said(tmp_path, name))
        act(said(tmp_path, name)[0][1])

    thread = Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_the_parts_of_a_cluster_are_found(cluster: Cluster, tmp_path: Path) -> None:
    assert (cluster.total("CPU"), cluster.largest("CPU"), cluster.largest("GPU")) == (2, 1, 0)
    assert cluster.share(4, None, None) == ONE and cluster.at_once(ONE) == 2
    told = refusal(lambda: cluster.share(4, 2, None))
    assert told.startswith(f"--cluster {cluster.address}: no node has 2 cores; the largest has 1 core and 0 GPUs")
    shared = SharedFolder(tmp_path / "shared")
    with shared.claimed():
        cluster.check(shared)


def test_a_folder_that_a_node_does_not_see_is_refused(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedFolder, "token", "never-made")
    told = refusal(lambda: cluster.check(SharedFolder(tmp_path), seconds=0.1))
    assert told.startswith(f"{tmp_path}: node ") and "does not see this folder; give --out on storage" in told


def test_a_lost_worker_s_piece_starts_again_only_after_its_command_has_ended(
    cluster: Cluster, tmp_path: Path, piece: Callable[..., Piece], capsys: pytest.CaptureFixture[str]
) -> None:
    """And what a command refuses is told, while the others are finished; it is not tried again."""
    pieces = [piece("slow", SLOW), piece("bad", "raise RuntimeError('no such thing')"), piece("quick", QUICK)]
    killer = when_started(tmp_path, "slow", lambda worker: os.kill(worker, signal.SIGKILL))
    told = refusal(lambda: run(cluster, tmp_path, pieces))
    killer.join()
    assert told.startswith("1 of 3 things failed: bad; the same command goes on with them")
    assert [what for what, _ in said(tmp_path, "slow")] == ["started", "stopping", "stopped", "started"]
    out = capsys.readouterr().out
    assert "slow: its worker was lost" in out and "it is started again (1 of at most 5 times)" in out
    assert f"{tmp_path}/bad.py: RuntimeError: no such thing (line 1)" in out.split("bad: failed on ")[1]
    assert out.count("bad: failed") == 1 and "slow: done" in out and "quick: done" in out


def test_a_stop_reaches_every_command(cluster: Cluster, tmp_path: Path, piece: Callable[..., Piece]) -> None:
    """The one that runs has ended when the stop is over; those that wait do not begin."""
    pieces = [piece("slow", SLOW), piece("other", SLOW), piece("third", SLOW)]
    stopper = when_started(tmp_path, "slow", lambda worker: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        run(cluster, tmp_path, pieces)
    stopper.join()
    assert [what for what, _ in said(tmp_path, "slow")] == ["started", "stopping", "stopped"]
    assert said(tmp_path, "third") == []
    assert [what for what, _ in said(tmp_path, "other")] in ([], ["started", "stopping", "stopped"])


def test_a_lost_node_s_piece_goes_on_elsewhere(
    cluster: Cluster, machines: Machines, tmp_path: Path, piece: Callable[..., Piece]
) -> None:
    """Last of this file: the node is gone."""
    pieces = [piece("one", SLOW), piece("two", SLOW)]

    def alive(name: str) -> bool:
        """Returns whether it runs; a zombie, which a container without an init keeps, does not count."""
        try:
            state = Path(f"/proc/{said(tmp_path, name)[0][1]}/stat").read_text().rpartition(") ")[2]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return not state.startswith("Z")

    def kill_both(worker: int) -> None:
        """The piece that runs on the head would sleep for long: its worker is killed once the other's is gone."""
        wait_for(lambda: said(tmp_path, "two"))
        machines.kill_second()
        wait_for(lambda: not (alive("one") and alive("two")))
        os.kill(next(said(tmp_path, name)[0][1] for name in ("one", "two") if alive(name)), signal.SIGKILL)

    killer = when_started(tmp_path, "one", kill_both)
    run(cluster, tmp_path, pieces)
    killer.join()
    for name in ("one", "two"):  # Ray itself kills the commands of a node whose raylet is gone
        assert [what for what, _ in said(tmp_path, name) if what == "started"] == ["started"] * 2
