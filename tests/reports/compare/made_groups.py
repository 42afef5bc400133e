"""Made-up groups of runs as `flowseg compare` reads them: logs of 60 epochs, without files."""

from pathlib import Path

from flowseg.config import Config, TrainConfig
from flowseg.reports.compare.log import Row, RunLog
from flowseg.reports.compare.sources import Group
from flowseg.runs.folder import Run


def run_log(name: str, dices: dict[int, float], seed: int = 0, width: int = 1, losses: float = 0.01) -> RunLog:
    run = Run(Path(name), Config(seed=seed, train=TrainConfig(batch=width)), None)
    rows = [
        Row(e, 0.1 + (losses if e % 3 else -losses), dices.get(e), e if e in dices else None) for e in range(1, 61)
    ]
    return RunLog(name, Path(name), tuple(rows), False, run)


def group(
    name: str, dices: dict[int, float], seeds: tuple[int, ...] = (0,), width: int = 1, losses: float = 0.01
) -> Group:
    """`width` stands for anything that makes another set-up; each seed adds a little of its own to Dice."""
    logs = [run_log(f"{name}{s}", {e: d + 0.001 * s for e, d in dices.items()}, s, width, losses) for s in seeds]
    return Group(name, tuple(logs))
