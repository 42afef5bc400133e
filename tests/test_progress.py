"""What is printed when the output is not a terminal."""

import io
import re

import pytest

from flowseg import progress


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[float]:
    """The time, which the test sets; lines are printed where it can read them."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "console", progress.Console(highlight=False, soft_wrap=True))
    return clock


def test_plain_lines_say_how_far_and_how_long(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("work", 10) as advance:
        for _ in range(10):
            now[0] += 100 if now[0] == 0 else 6
            advance(1, "loss 0.5")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "work 2/10  loss 0.5  48 s left"
    assert all(re.fullmatch(r"work \d+/10  loss 0\.5  \d+ s left", line) for line in lines) and len(lines) == 5


def test_the_time_left_allows_for_items_that_take_longer(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    # The first five take 10 s each, the others 40.
    work = progress.Task("work", 10, work=lambda a, b: 4 * (b - a) - 3 * (min(b, 5) - min(a, 5)))
    for item in range(10):
        if item == 5:
            work.restart()
            now[0] += 1000
        now[0] += 10 if item < 5 else 40
        work.advance()
    left = [line.split("  ")[1] for line in capsys.readouterr().out.splitlines()]
    told = [30 + 200, 20 + 200, 10 + 200, 200, 120, 80, 40, 0]
    assert left == [f"{progress.duration(seconds)} left" for seconds in told]


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (302400, "3.5 days")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


@pytest.mark.parametrize("text", ["runs/[bold]x[/bold]", "runs/[/x]", "[1]"])
def test_names_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str) -> None:
    progress.console.print(text)
    progress.warn(text)
    assert capsys.readouterr().out == f"{text}\nWARNING: {text}\n"
    shown = io.StringIO()
    terminal = progress.Console(file=shown, force_terminal=True, width=120)  # takes text for markup by itself
    monkeypatch.setattr(progress, "console", terminal)
    with progress.task(text, 2) as advance:
        advance(1, text)
    assert shown.getvalue().count(text) >= 2
