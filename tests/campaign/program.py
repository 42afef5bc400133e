"""The campaign itself: makes the bench, gives cases to workers in turns, counts, and prints what was found."""

import contextlib
import importlib
import json
import math
import os
import pkgutil
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

import numpy as np

import flowseg
from flowseg.progress import duration
from tests.campaign.__main__ import CACHE
from tests.campaign.bench import Bench, make_bench
from tests.campaign.case import CATEGORIES, Case, Finding, Result
from tests.campaign.inputs import make_samples
from tests.campaign.kinds import KINDS
from tests.campaign.outcome import HANG

MEMORY = 3 * 2**30
"""Bytes that a confined process may take beside what it has: an image of flowseg's largest size takes less."""
_BETWEEN_LINES = 10.0  # seconds
_LONGEST = 3000  # characters of a traceback


def prepared(folder: Path) -> Bench:
    """Imports all of flowseg, so that copies of this process need not, and returns the bench."""
    tell = lambda text: print(text, flush=True)  # noqa: E731
    started = time.monotonic()
    tell("importing flowseg")
    for module in pkgutil.walk_packages(flowseg.__path__, "flowseg."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)
    CACHE.mkdir(parents=True, exist_ok=True)
    (folder / "bench").mkdir()
    bench = make_bench(folder / "bench", CACHE, tell)
    make_samples(bench)
    tell(", ".join(f"{name} {seconds:.1f} s" for name, seconds in bench.seconds.items()))
    tell(f"ready after {duration(time.monotonic() - started)}")
    return bench


def run_case(bench: Bench, kind: str, seed: int, number: int, folder: Path, tell: Callable[[str], None]) -> Result:
    """Runs a case in a folder that does not exist yet."""
    folder.mkdir(parents=True)
    at = Case(bench, np.random.default_rng([seed, zlib.crc32(kind.encode()), number]), folder, tell)
    try:
        KINDS[kind].case(at)
    except Exception as error:
        said = "".join(traceback.format_exception(error))[-_LONGEST:]
        wrong = isinstance(error, AssertionError)
        at.result.findings.append(Finding("wrong" if wrong else "crash", repr(error)[:300], said))
    return at.result


def one_case(folder: Path, kind: str, seed: int, number: int) -> int:
    """Runs one case, shows what it does, and returns the exit status; its folder stays."""
    place = folder / "case"
    result = run_case(prepared(folder), kind, seed, number, place, lambda text: print(text, flush=True))
    for finding in result.findings:
        print(f"\n{finding.category}: {finding.what}\n{finding.shown}")
    print(f"\n{len(result.findings)} findings; the folder of the case: {place}")
    return int(bool(result.findings))


def confined(bench: Bench, kind: str, seed: int, numbers: Sequence[int], folder: Path) -> Iterator[tuple[int, Result]]:
    """Yields the results of cases that run in processes with limited memory and time; each death costs one case."""
    left = list(numbers)
    while left:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            _confine(bench, kind, seed, left, folder, write)
        os.close(write)
        lines, died = b"", ""
        while not died:
            if not select.select([read], [], [], HANG)[0]:
                os.kill(pid, signal.SIGKILL)
                died = "hang"
            elif part := os.read(read, 2**16):
                *whole, lines = (lines + part).split(b"\n")
                for line in whole:
                    yield left.pop(0), Result.of(json.loads(line))
            else:
                died = "crash"
        os.close(read)
        _, status = os.waitpid(pid, 0)
        if left:
            status = os.waitstatus_to_exitcode(status)
            what = f"took over {HANG:.0f} s" if died == "hang" else f"the process died ({status})"
            yield left.pop(0), Result(1, "", [Finding("hang" if died == "hang" else "crash", what)])
        shutil.rmtree(folder, ignore_errors=True)


def _confine(bench: Bench, kind: str, seed: int, numbers: Sequence[int], folder: Path, write: int) -> None:
    """Runs cases in this process, and ends it."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        for number in numbers:
            result = run_case(bench, kind, seed, number, folder, lambda text: None)
            shutil.rmtree(folder)
            os.write(write, json.dumps(result.plain()).encode() + b"\n")
    finally:
        os._exit(0)


def _work(bench: Bench, seed: int, folder: Path, asked: Connection) -> None:
    """What a worker process does: cases, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while (order := asked.recv()) is not None:
        kind, numbers = order
        place = folder / f"{kind}-{numbers[0]}"
        if KINDS[kind].confined:
            for number, result in confined(bench, kind, seed, numbers, place):
                asked.send((number, result.plain()))
        else:
            for number in numbers:
                asked.send((number, run_case(bench, kind, seed, number, place, lambda text: None).plain()))
                shutil.rmtree(place, ignore_errors=True)
        asked.send(None)


def _a_turn(kind: str) -> int:
    """Returns how many cases of a kind a worker is given at a time."""
    return max(KINDS[kind].confined, 1)


class Counts:
    """What came of a kind's cases."""

    def __init__(self) -> None:
        self.given = self.cases = self.tries = 0
        self.seconds = 0.0
        self.found = dict.fromkeys(CATEGORIES, 0)
        self.skipped: dict[str, int] = {}

    def add(self, result: Result) -> None:
        self.cases += 1
        self.tries += result.tries
        for category in {finding.category for finding in result.findings}:
            self.found[category] += 1
        if result.skipped:
            self.skipped[result.skipped] = self.skipped.get(result.skipped, 0) + 1


class Campaign:
    """Cases of all kinds, until the time is over or each kind has had its turns.

    Args:
        folder: an empty folder; it is deleted at the end.
        seed: decides every case.
        jobs: how many cases run at once.
        kinds: only these; None: all.
        turns: how many each kind gets, of a case or of as many as one confined process runs; None: no limit.
    """

    def __init__(
        self, folder: Path, seed: int, jobs: int, kinds: Sequence[str] | None = None, turns: int | None = None
    ):
        self._folder, self._seed, self._jobs, self._most = folder, seed, jobs, math.inf if turns is None else turns
        self._counts = {kind: Counts() for kind in kinds or KINDS}
        self._findings: list[tuple[str, int, Finding]] = []

    def run(self, seconds: float) -> int:
        """Runs it; returns the exit status."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            bench = prepared(self._folder)
            self._turns(bench, time.monotonic() + seconds)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._report()
        return int(bool(self._findings))

    def _turns(self, bench: Bench, end: float) -> None:
        """Gives the worker that is free a case of the kind that has had the least time for its share."""
        workers: dict[Connection, tuple[int, str, float]] = {}
        for _ in range(self._jobs):
            ours, theirs = Pipe()
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(EOFError, BrokenPipeError):
                    ours.close()
                    _work(bench, self._seed, self._folder / "cases", theirs)
                os._exit(0)
            theirs.close()
            workers[ours] = (pid, "", 0.0)
        said = time.monotonic()
        try:
            for free in list(workers):
                self._give(free, workers, end)
            while workers:
                try:
                    answers = wait(list(workers), timeout=1.0)
                except KeyboardInterrupt:
                    if not end:
                        raise
                    print("stopping after the cases that are running", flush=True)
                    end = 0.0
                    continue
                for ready in answers:
                    assert isinstance(ready, Connection)
                    _, kind, begun = workers[ready]
                    message = ready.recv()
                    if message is not None:
                        self._take(kind, *message)
                        continue
                    self._counts[kind].seconds += time.monotonic() - begun
                    self._give(ready, workers, end)
                if time.monotonic() - said >= _BETWEEN_LINES:
                    said = time.monotonic()
                    print(self._line(end - said), flush=True)
        finally:
            for connection in workers:
                connection.close()

    def _give(self, worker: Connection, workers: dict[Connection, tuple[int, str, float]], end: float) -> None:
        """Gives a worker its next turn, or ends it."""
        now = time.monotonic()
        spent = {
            kind: counts.seconds for kind, counts in self._counts.items() if counts.given < self._most * _a_turn(kind)
        }
        if now >= end or not spent:
            worker.send(None)
            os.waitpid(workers.pop(worker)[0], 0)
            return
        for _, kind, begun in workers.values():
            if kind in spent and workers[worker][1:] != (kind, begun):
                spent[kind] += now - begun + 1
        kind = min(spent, key=lambda name: spent[name] / KINDS[name].share)
        counts = self._counts[kind]
        numbers = list(range(counts.given, counts.given + _a_turn(kind)))
        counts.given += len(numbers)
        worker.send((kind, numbers))
        workers[worker] = (workers[worker][0], kind, now)

    def _take(self, kind: str, number: int, plain: dict[str, Any]) -> None:
        result = Result.of(plain)
        self._counts[kind].add(result)
        for finding in result.findings:
            self._findings.append((kind, number, finding))
            print(f"{finding.category}: {finding.what}\n{finding.shown}\n{self._again(kind, number)}\n", flush=True)

    def _again(self, kind: str, number: int) -> str:
        return f"  again: python -m tests.campaign --kind {kind} --seed {self._seed} --case {number}"

    def _line(self, left: float) -> str:
        done = "  ".join(f"{kind} {counts.tries}" for kind, counts in self._counts.items())
        time_left = f"{duration(max(left, 0))} left   " if left < math.inf else ""
        sums = {category: sum(c.found[category] for c in self._counts.values()) for category in CATEGORIES}
        found = "  ".join(f"{count} {category}" for category, count in sums.items())
        return f"{time_left}{done}   {found}"

    def _report(self) -> None:
        """Prints the counts, and the command that repeats each finding."""
        print(f"\n{'kind':12}{'cases':>8}{'tries':>8}" + "".join(f"{category:>8}" for category in CATEGORIES))
        for kind, counts in self._counts.items():
            found = "".join(f"{counts.found[category]:8}" for category in CATEGORIES)
            print(f"{kind:12}{counts.cases:8}{counts.tries:8}{found}   ({KINDS[kind].what})")
            for reason, count in counts.skipped.items():
                print(f"  {count} skipped: {reason}")
        for kind, number, finding in self._findings:
            print(f"{finding.category}: {finding.what}\n{self._again(kind, number)}")
        print(f"{len(self._findings)} findings")
