"""Kills: a training is ended by SIGKILL at random moments and continued, until it is done."""

import os
import re
import signal
from pathlib import Path

from tests.campaign.acts import ACTS, differing
from tests.campaign.case import Case
from tests.campaign.outcome import HANG, Command, Outcome

MOST = 8
"""Kills in one training; after them it may end."""
ONE_CORE = 0.3
"""Share of the starts that have one processor core: the numbers must not depend on how many threads compute them."""
_SOON = 0.06  # seconds; a save takes about as many


def case(at: Case) -> None:
    """The parameters, the log and the scores must be those of a training that nothing disturbed."""
    at.bench.lay_out(at.folder)
    act, run = ACTS["train"], at.folder / "new"
    for _ in range(MOST):
        saved = newest(run)
        command = at.start(act.words, before=_on_one_core if at.rng.random() < ONE_CORE else None)
        _wait(at, command, run)
        if not command.running:
            outcome = command.finish()
            break
        command.send(signal.SIGKILL)
        outcome = command.finish()
        if outcome.status == 0:  # it had ended by itself when the signal came
            break
        at.tried(f"killed at step {newest(run)} or later")
        if (fault := outcome.fault((-signal.SIGKILL,))) is not None:
            at.find("crash", fault[1], outcome)
        check_start(at, saved, outcome)
    else:
        saved = newest(run)
        outcome = at.start(act.words).finish()
    at.judge(outcome)
    if outcome.status:
        at.find("lost", "a killed training cannot be continued", outcome)
        return
    check_start(at, saved, outcome)
    if different := differing(act.product(at.folder), at.bench.expected("train")):
        at.find("wrong", f"after {at.result.tries} kills, {different}", outcome)


def _on_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def newest(run: Path) -> int:
    """Returns the step of a run's newest checkpoint that is whole; 0 if it has none."""
    folder = run / "checkpoints" / "latest"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def _wait(at: Case, command: Command, run: Path) -> None:
    """Waits for the moment of the kill: any moment, or just after the training began a save."""
    if at.rng.random() < 0.5:
        command.wait(at.rng.uniform(0, 1.05 * at.bench.seconds["train"]))
        return
    folder = run / "checkpoints"
    saves, waits = len(list(folder.glob("*/*"))), int(at.rng.integers(1, 5))
    for _ in range(waits):
        for _ in range(int(HANG / 0.005)):
            if command.wait(0.005) or saves != (saves := len(list(folder.glob("*/*")))):
                break
    command.wait(at.rng.uniform(0, _SOON))


def check_start(at: Case, saved: int, outcome: Outcome) -> None:
    """Reports a training that begins before the newest checkpoint that it had."""
    found = re.search(r"continuing \S+ from step (\d+)", outcome.out)
    begun = "compiling the training step" in outcome.out
    if saved and begun and int(found[1] if found else 0) < saved:
        at.find("lost", f"a training with a checkpoint of step {saved} began at {found[1] if found else 0}", outcome)
