"""One case of a kind: its random numbers, its folder, the commands that it runs, and what it finds."""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.campaign.bench import Bench
from tests.campaign.outcome import Command, Outcome

Category = Literal["lost", "wrong", "crash", "hang"]
CATEGORIES: tuple[Category, ...] = ("lost", "wrong", "crash", "hang")
REAL = 0.1
"""Share of the commands that are started as users do."""


@dataclass(frozen=True)
class Finding:
    """Something that flowseg promises not to do."""

    category: Category
    what: str
    shown: str = ""
    """The command and its output."""


@dataclass
class Result:
    """What came of a case."""

    tries: int = 0
    """Kills, damaged files, inputs and so on."""
    note: str = ""
    """What was tried, in words."""
    findings: list[Finding] = field(default_factory=list)
    skipped: str = ""
    """Why nothing could be tried here."""

    def plain(self) -> dict[str, Any]:
        """Returns it as JSON holds it; `Result.of` is the inverse."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Result":
        return cls(**{**plain, "findings": [Finding(**finding) for finding in plain["findings"]]})


class Case:
    """What a case is given, and where it reports.

    Args:
        bench: what all cases share; it is not changed.
        rng: the random numbers of this case.
        folder: empty, for whatever the case writes.
    """

    def __init__(self, bench: Bench, rng: np.random.Generator, folder: Path, tell: Callable[[str], None]):
        self.bench, self.rng, self.folder, self._tell = bench, rng, folder, tell
        self.result = Result()

    def tried(self, note: str, count: int = 1) -> None:
        """Counts what was tried."""
        self.result.tries += count
        self.result.note = note
        self._tell(f"tried: {note}")

    def find(self, category: Category, what: str, outcome: Outcome | None = None) -> None:
        """Reports a finding."""
        told = f"{what} ({self.result.note})" if self.result.note else what
        finding = Finding(category, told, outcome.shown if outcome else "")
        self.result.findings.append(finding)
        self._tell(f"{category}: {told}\n{finding.shown}")

    def choose(self, items: Sequence[Any]) -> Any:
        """Returns one of some things."""
        return items[int(self.rng.integers(len(items)))]

    def copy(self, source: Path, name: str) -> Path:
        """Returns a copy of a folder of the bench."""
        return Path(shutil.copytree(source, self.folder / name, symlinks=True))

    def start(
        self,
        words: Sequence[object],
        *,
        before: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
        real: bool | None = None,
        folder: Path | None = None,
    ) -> Command:
        """Starts a command in the case's folder or another; some as users do, unless `real` or `before` decide."""
        if real is None:
            real = before is None and bool(self.rng.random() < REAL)
        return Command(words, folder or self.folder, real=real, before=before, environment=environment)

    def judged(self, command: Command, statuses: Collection[int] = (0, 1)) -> Outcome:
        """Waits for a command, and reports what is a finding whatever the command was."""
        return self.judge(command.finish(), statuses)

    def judge(self, outcome: Outcome, statuses: Collection[int] = (0, 1)) -> Outcome:
        """Reports what is a finding in a command's end, whatever the command was."""
        self._tell(outcome.shown)
        fault = outcome.fault(statuses)
        if fault is not None:
            self.find("hang" if fault[0] == "hang" else "crash", fault[1], outcome)
        return outcome

    def run(self, words: Sequence[object], statuses: Collection[int] = (0, 1), **how: Any) -> Outcome:
        """Runs a command to its end; see `start` and `judged`."""
        return self.judged(self.start(words, **how), statuses)
