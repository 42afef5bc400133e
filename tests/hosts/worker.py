"""One process of a training on several hosts, as the tests start it: what it does stands in a JSON file.

    python worker.py SCENARIO.json PROCESS

The scenario has the coordinator's address and a list of acts. An act trains a config for which all numbers are known,
scores that, is refused, or is a whole command; the process can send itself a signal, or find its disk slow or full.
What came of each act is written beside the scenario, to SCENARIO.PROCESS.json.
"""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from orbax.checkpoint import future

from flowseg import cli, hosts, software
from flowseg.config import Config
from flowseg.config_values import saved_config
from flowseg.errors import UserError
from flowseg.hosts.place import Place
from flowseg.runs.folder import open_run
from flowseg.runs.prepare import prepare
from flowseg.runs.trackers import Tracking
from flowseg.training import experiment, loop
from flowseg.training.interrupt import Interrupted

make_driver = cache(loop.make_driver)


class Signalled:
    """A driver whose process sends itself a signal before a step. From then on steps take their time."""

    def __init__(self, config: Config, total: int, signum: int, step: int):
        self._driver, self._signum, self._step = make_driver(config, total), signum, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def __call__(self, state: Any, batch: Any) -> Any:
        step = int(state.step)
        if step == self._step:
            os.kill(os.getpid(), self._signum)
            time.sleep(0.1)
            os.kill(os.getpid(), self._signum)  # as `timeout` and schedulers do
        if step >= self._step:
            time.sleep(0.5)  # JAX looks for signals once a second
        return self._driver(state, batch)


def disturb(asked: dict[str, Any] | None) -> None:
    """Lets the next training be disturbed, if this process is the one to do it: at a step, at once, or by its disk."""
    loop.make_driver = make_driver
    if asked is None or asked["process"] != hosts.index():
        return
    if "full_after" in asked:
        on_disk(partial(full_after, Path(asked["full_after"])))
    elif "slow_for_best" in asked:
        on_disk(partial(slow_for_best, Path(asked["slow_for_best"])))
    elif asked["step"] is None:
        os.kill(os.getpid(), signal.Signals[asked["signal"]])
        time.sleep(3)  # JAX looks for signals once a second, and the other process waits for this one
    else:
        loop.make_driver = lambda config, total: Signalled(  # type: ignore[assignment]
            config, total, signal.Signals[asked["signal"]], asked["step"]
        )


def on_disk(write: Callable[[], None]) -> None:
    """Calls `write` each time that this process waits for a checkpoint's files; process 0 writes them."""
    result = future.ChainedFuture.result

    def written(self: Any, timeout: int | None = None) -> Any:
        write()
        return result(self, timeout)

    future.ChainedFuture.result = written  # type: ignore[method-assign]


def slow_for_best(out: Path) -> None:
    """Takes its time while a best checkpoint is written: the latest of the same step begins meanwhile."""
    if any((out / "checkpoints" / "best").glob("*tmp*")):
        time.sleep(0.7)


def full_after(file: Path) -> None:
    """Raises what a full disk does, once a file exists."""
    if file.exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def train(config: Config, out: str, disturbed: dict[str, Any] | None = None) -> str:
    """Trains; scores nothing afterwards."""
    prepared = prepare(config)
    run = experiment._choose_together(config, prepared.encoder, "auto", Path(out))
    disturb(disturbed)
    try:
        loop.train(run, prepared.datasets)
    except Interrupted as stopped:
        return f"stopped by {stopped}"
    return "trained"


def score(config: Config, out: str) -> str:
    """Scores a trained run."""
    run = open_run(Path(out))
    with Tracking(run, ()) as tracking:
        experiment._score(run, prepare(config), lambda: None, tracking)
    return "scored"


def refused(config: Config, out: str, here: dict[str, Any] | None = None) -> str:
    """The one line with which a whole experiment is refused. `here` has what process 1 does otherwise."""
    other = (here or {}) if hosts.index() else {}
    cwd = Path.cwd()
    os.chdir(other.get("cwd", cwd))
    loaded = software.LOADED
    software.LOADED = other.get("software", loaded)
    try:
        experiment.run_experiment(config, out=Path(out))
    except UserError as error:
        return str(error)
    finally:
        os.chdir(cwd)
        software.LOADED = loaded
    return "not refused"


def unshared(folders: list[str]) -> str:
    """The one line with which a folder is refused that is another one on each process."""
    try:
        hosts.check_shared(Path(folders[hosts.index()]), seconds=0.5)
    except UserError as error:
        return str(error)
    return "not refused"


ACTS: dict[str, Callable[..., str]] = {"train": train, "score": score, "refused": refused, "unshared": unshared}


def main() -> None:
    file, process = Path(sys.argv[1]), int(sys.argv[2])
    scenario = json.loads(file.read_text())
    if "command" in scenario:
        asked = scenario.get("disturbed")
        start = hosts.start

        def started(place: Place, seconds: float) -> None:
            start(place, seconds)
            disturb(asked)

        hosts.start = started
        sys.argv = ["flowseg", *scenario["command"], "--coordinator", scenario["coordinator"]]
        sys.argv += ["--processes", str(scenario["processes"]), "--process-id", str(process)]
        cli.main()
        return
    hosts.start(Place(scenario["coordinator"], scenario["processes"], process), 300)
    came: list[str] = []
    for act in scenario["acts"]:
        values = dict(act)
        kind = values.pop("act")
        if isinstance(values.get("config"), list):
            values["config"] = values["config"][hosts.index()]
        if "config" in values:
            values["config"] = saved_config(values["config"])
        came.append(ACTS[kind](**values))
    file.with_suffix(f".{process}.json").write_text(json.dumps(came))
    hosts.stop()


if __name__ == "__main__":
    main()
