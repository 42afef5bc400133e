"""What needs no cluster: refusals of a line, the log of a training, the folder that pieces share."""

import json
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from refusals import refusal

from flowseg import software
from flowseg.cluster import pieces
from flowseg.cluster.connection import Cluster, connected
from flowseg.cluster.folder import Seen, SharedFolder
from flowseg.cluster.pieces import Piece
from flowseg.cluster.worker import Each, Ended, Node
from flowseg.commands.experiment import experiment
from flowseg.errors import UserError, pip_install
from flowseg.runs.follow import Follower


def connect(address: str) -> None:
    with connected(address):
        raise AssertionError


def ask(*more: str) -> str:
    given = ["--configs", "baseline", "--out", "never-made", "--preset", "full", *more]
    message = refusal(lambda: experiment(given))
    assert not Path("never-made").exists()
    return message


def test_flowseg_does_not_import_ray() -> None:
    program = "import sys, flowseg.cli, flowseg.commands.experiment_on_cluster as _; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_ray_the_option_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ask("--cluster", "local") == f"--cluster needs Ray; install it with: {pip_install('flowseg[cluster]')}"


def test_options_that_do_not_go_together_are_refused() -> None:
    assert ask("--cpus-each", "2").startswith("--cpus-each: is for work on a cluster; give --cluster, too")
    assert ask("--gpus-each", "0").startswith("--gpus-each: is for work on a cluster")


@pytest.mark.parametrize("address", ["ray://node01:10001", "node01", ":6379", "a:0", "a:99999", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    pytest.importorskip("ray", reason="needs the cluster extra: pip install 'flowseg[cluster]'")
    assert refusal(lambda: connect(address)).startswith(f"--cluster {address}: is no address; give local, auto or")


class LosesAll:
    """A Ray whose nodes lose every task at once; it notes when tasks start."""

    def __init__(self) -> None:
        class RayError(Exception):
            pass

        names = ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "OutOfMemoryError", "ObjectLostError")
        lost = {name: type(name, (RayError,), {}) for name in names}
        self.exceptions = SimpleNamespace(RayError=RayError, **lost)
        self.starts: list[float] = []

    def remote(self, function: object) -> Any:
        def start(*arguments: object) -> int:
            self.starts.append(time.monotonic())
            return len(self.starts)

        return SimpleNamespace(options=lambda **asked: SimpleNamespace(remote=start))

    def wait(self, references: list[int], **asked: object) -> tuple[list[int], list[int]]:
        return references, []

    def get(self, reference: int) -> None:
        raise self.exceptions.NodeDiedError


def test_a_piece_that_is_lost_at_once_every_time_is_not_given_up_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose Ray has ended goes on getting tasks for a while."""
    assert sum(pieces.PAUSES) > 180 and pieces.PAUSES[0] == 0
    monkeypatch.setattr(pieces, "PAUSES", (0.0, 0.6, 0.8))
    monkeypatch.setattr(pieces, "_TURN_SECONDS", 0.01)
    ray, shared = LosesAll(), SharedFolder(tmp_path / "shared")
    cluster = Cluster(ray, "node01:6379")  # type: ignore[arg-type]
    with shared.claimed():
        told = refusal(lambda: pieces.run_pieces(cluster, shared, [Piece("a", [])], Each(1, 0), "things"))
    assert told.startswith("1 of 1 things failed: a;") and len(ray.starts) == 4
    first, second, third, fourth = ray.starts
    assert second - first < 0.6 and third - second >= 0.6 and fourth - third >= 0.8


class EndsAll:
    """A Ray whose tasks all end well, on a node whose files are seen here after a while, or never."""

    def __init__(self, result: Path, seconds: float | None):
        self.exceptions = LosesAll().exceptions
        self.result, self.seconds = result, seconds

    def remote(self, function: object) -> Any:
        return SimpleNamespace(options=lambda **asked: SimpleNamespace(remote=lambda *arguments: "task"))

    def wait(self, references: list[str], **asked: object) -> tuple[list[str], list[str]]:
        return references, []

    def get(self, reference: str) -> Ended:
        if self.seconds is not None:
            Timer(self.seconds, self.result.touch).start()
        return Ended(0, "", "node01")


def test_results_of_another_node_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, seen, unseen = SharedFolder(tmp_path / "shared"), tmp_path / "seen", tmp_path / "unseen"

    def run(result: Path, seconds: float | None) -> None:
        ray: Any = EndsAll(result, seconds)
        piece = Piece("a", [], result=result)
        pieces.run_pieces(Cluster(ray, "auto"), shared, [piece], Each(1, 0), "things")

    with shared.claimed():
        run(seen, 0.3)
        assert seen.exists()
        monkeypatch.setattr(pieces, "SEEN_SECONDS", 0.1)
        told = refusal(lambda: run(unseen, None))
    assert told.startswith(f"{unseen}: is not seen here after 0 s, though a has ended well; give the same command")


def test_an_address_that_nobody_listens_at_is_refused_at_once() -> None:
    pytest.importorskip("ray", reason="needs the cluster extra: pip install 'flowseg[cluster]'")
    message = refusal(lambda: connect("127.0.0.1:1"))
    assert message.startswith("--cluster 127.0.0.1:1: cannot be reached (Connection refused); check address")


def test_a_signal_is_no_error_of_the_command() -> None:
    assert [Ended(status, "", "").cut_off for status in (1, 2, 70, 75)] == [False] * 4
    assert [Ended(status, "", "").cut_off for status in (-9, -15, 130, 143)] == [True] * 4


def test_a_piece_without_a_gpu_keeps_to_its_cores() -> None:
    found = Each(3, 0).environment()
    assert found["NPROC"] == found["OMP_NUM_THREADS"] == "3" and found["CUDA_VISIBLE_DEVICES"] == ""
    assert Each(1, 1).environment() == {} and str(Each(1, 2)) == "2 GPUs and 1 core"


class FakeRay:
    """A cluster of one node whose workers are busy for some turns; a task gives what it is told to."""

    def __init__(self, answer: object, busy: int = 0):
        self.answer, self.busy = answer, busy
        self.exceptions = SimpleNamespace(RayError=RuntimeError)

    def nodes(self) -> list[dict[str, object]]:
        return [{"Alive": True, "NodeID": "0" * 56, "NodeManagerHostname": "node02", "Resources": {}}]

    def remote(self, function: object) -> Any:
        task = SimpleNamespace(remote=lambda *values: "task")
        return SimpleNamespace(options=lambda **more: task)

    def wait(self, tasks: list[str], timeout: float, num_returns: int = 1) -> tuple[list[str], list[str]]:
        self.busy -= 1
        return ([], tasks) if self.busy >= 0 else (tasks, [])

    def get(self, task: str) -> object:
        return self.answer


def test_a_question_waits_for_a_worker_that_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    fake: Any = FakeRay("bf16", busy=3)
    assert Cluster(fake, "auto").ask(lambda: "", Each(1, 1)) == "bf16"
    assert capsys.readouterr().out == "cluster auto: waiting until 1 GPU and 1 core are free\n"


def test_a_node_with_other_software_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the cluster extra: pip install 'flowseg[cluster]'")
    shared = SharedFolder(tmp_path)
    fake: Any = FakeRay(Node("node02", True, software.facts()))
    Cluster(fake, "auto").check(shared)
    for name in ("source", "jax"):
        fake = FakeRay(Node("node02", True, software.facts() | {name: "another"}))
        told = refusal(lambda fake=fake: Cluster(fake, "auto").check(shared))
        assert told.startswith(f"node node02: {name} is another there and {software.facts()[name]} here; install the")


def line(kind: str, step: int, **more: float) -> str:
    return json.dumps({"kind": kind, "step": step, "epoch": step / 10, **more}) + "\n"


def test_a_log_is_followed_as_it_grows_and_when_it_is_written_anew(tmp_path: Path) -> None:
    follower, log = Follower(tmp_path), tmp_path / "metrics.jsonl"
    follower.look()
    assert (follower.step, follower.dice) == (0, None)
    log.write_text(line("train", 5) + line("val", 10, dice=0.25) + line("train", 15)[:9])
    follower.look()
    assert (follower.step, follower.epoch, follower.dice) == (10, 1.0, 0.25)
    with log.open("a") as file:
        file.write(line("train", 15)[9:])
    follower.look()
    assert (follower.step, follower.dice) == (15, 0.25)
    new = tmp_path / "new"
    new.write_text(line("train", 5))
    new.replace(log)
    follower.look()
    assert follower.step == 5


def test_the_last_line_of_progress_counts(tmp_path: Path) -> None:
    shared = SharedFolder(tmp_path)
    assert shared.printed("a/b") is None
    shared.out("a/b").write_text(
        "run x/y: 3 things\nreading images 5/9  3 s left\nprediction 2/7  1 s left\nNOTE: z\npre"
    )
    assert shared.printed("a/b") == Seen(2, 7, "prediction")


def test_a_shared_folder_keeps_what_was_asked_for_once_a_piece_has_a_result(tmp_path: Path) -> None:
    shared = SharedFolder(tmp_path / "shared")
    assert shared.agree({"images": 3, "_pieces": 2}) == {"images": 3, "_pieces": 2}
    assert shared.agree({"images": 3, "_pieces": 5}) == {"images": 3, "_pieces": 2}
    shared.err("1").write_text("--option: is wrong")
    (shared.path / "1").mkdir()
    assert shared.agree({"images": 4, "_pieces": 5}) == shared.agree({"images": 4, "_pieces": 6})
    (shared.path / "1" / "result").touch()
    told = refusal(lambda: shared.agree({"images": 3, "_pieces": 2}))
    assert told.startswith(f"{shared.path}: holds unfinished work that was begun otherwise (images differs)")
    assert shared.agree({"images": 4, "_pieces": 2})["_pieces"] == 5
    (shared.path / "plan.json").write_text("[")
    assert "plan.json: is damaged; delete" in refusal(lambda: shared.agree({"images": 4, "_pieces": 2}))


def test_one_process_at_a_time_gives_out_work(tmp_path: Path) -> None:
    """And what it has made for that is gone afterwards, unless there is more."""
    shared, other = (SharedFolder(tmp_path / "out" / "shared") for _ in range(2))
    with shared.claimed():
        assert (shared.path / shared.token).exists()
        with (
            pytest.raises(UserError, match="another process gives out work there; wait for it or stop it"),
            other.claimed(),
        ):
            raise AssertionError
        assert (shared.path / shared.token).exists()
    assert not (tmp_path / "out").exists()
    with shared.claimed():
        shared.out("a").touch()
    assert [file.name for file in shared.path.iterdir()] == ["a.out"]
