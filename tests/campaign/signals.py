"""Signals: SIGINT and SIGTERM at random moments of every command, and the same command again."""

import signal

from flowseg.evaluation.finished import JOURNAL
from tests.campaign.acts import ACTS, differing
from tests.campaign.case import Case
from tests.campaign.outcome import STOPPED

_START = 4.0
"""Seconds that a command takes longer if it is started as users do."""


def case(at: Case) -> None:
    """The command ends within a minute and says so; what it has written by then is whole; the next time it is done."""
    name = at.choose(sorted(ACTS))
    act = ACTS[name]
    signum = at.choose([signal.SIGINT, signal.SIGTERM])
    real = bool(at.rng.random() < 0.15)
    at.bench.lay_out(at.folder, act.changes)
    moment = at.rng.uniform(0, 1.05 * at.bench.seconds[name] + (_START if real else 0))
    command = at.start(act.words, real=real)
    command.wait(moment)
    if not command.running:
        at.judged(command)
        return
    command.send(signum)
    if at.rng.random() < 0.2:
        command.wait(at.choose([0.0, at.rng.uniform(0, 3)]))
        command.send(signum)  # as `timeout` does, or someone who is impatient
    at.tried(f"{signal.Signals(signum).name} to {name} after {moment:.2f} s{' (a real start)' if real else ''}")
    # Before Python has started, and by SIGTERM where nothing is to be saved, the signal itself ends the process.
    outcome = at.judged(command, (0, STOPPED[signum], -signum))
    there = not act.grows and all((at.folder / made).exists() for made in act.made)
    left = act.product(at.folder) if there else {}
    expected = at.bench.expected(name)
    left.pop(JOURNAL, None)  # what `predict --resume` takes up
    if not act.changes and (broken := {k for k, v in left.items() if expected.get(k) != v}):
        at.find("wrong", f"left {', '.join(sorted(broken)[:3])} behind, which is not what it should be", outcome)
    whole = outcome.status == 0 or (left and not differing(left, expected))
    if whole and act.words[0] in ("data", "phantoms", "export"):
        return  # it would be refused: its folder exists
    again = at.run(act.words)
    if again.status:
        at.find("lost", "the same command does not work after a signal", again)
    elif different := differing(act.product(at.folder), expected):
        at.find("wrong", f"after a signal, {different}", again)
