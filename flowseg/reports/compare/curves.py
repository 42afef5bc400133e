"""Learning curves and differences image by image, as SVG that takes its colours from the page.

Drawn here and not by matplotlib: text stays text (in any language's letters), lines follow the page's light or dark
colours, and each point can tell its value.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

SERIES = 8
"""Colours and marks there are; further groups take them again from the first."""

_POINT, _SMALL_POINT, _CARRIED = 4.0, 2.5, 1.8  # half sizes of marks, pixels
_SHORTENED = 0.25  # share of all epochs from which a stretch without any is drawn short
_BREAK = 0.08  # its width, as a share of the others'
_CROWD = 60  # measurements of a run from which marks are small
_LOG_FROM = 8.0  # largest over smallest loss from which its axis is logarithmic


@dataclass(frozen=True)
class Frame:
    """Size of a drawing and its margins, in pixels at which its text is 12 high."""

    kind: str
    """Its class in the page, which shows one of two."""
    width: int
    height: int
    left: int = 52
    right: int = 14
    top: int = 12
    bottom: int = 36


BROAD, NARROW = Frame("broad", 600, 240), Frame("narrow", 340, 220)
"""For screens of more than 640 pixels, and for phones."""


@dataclass(frozen=True)
class Scale:
    """From values to pixels, along one axis."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int) -> list[float]:
        """Round values to mark, about `count` of them."""
        locator = LogLocator(subs=(1.0, 2.0, 5.0), numticks=12) if self.log else MaxNLocator(count)
        return [float(v) for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]


@dataclass(frozen=True)
class Epochs:
    """From epochs to pixels; a long stretch that no run has logged is drawn short."""

    parts: tuple[tuple[int, int], ...]
    """First and last epoch of each stretch that is drawn to scale."""
    start: float
    stop: float

    @classmethod
    def over(cls, epochs: Sequence[int], start: float, stop: float) -> "Epochs":
        """The axis of epochs that some run has logged, ascending."""
        least = _SHORTENED * (epochs[-1] - epochs[0])
        cuts = [i for i, (a, b) in enumerate(pairwise(epochs), 1) if b - a > least and b - a > 1]
        bounds = [0, *cuts, len(epochs)]
        # So that the two ends of a log are not each a stretch of one epoch with nothing between them.
        parts = (
            tuple((epochs[i], epochs[j - 1]) for i, j in pairwise(bounds)) if len(epochs) > 2 * len(cuts) + 1 else ()
        )
        return cls(parts or ((epochs[0], epochs[-1]),), start, stop)

    def __call__(self, epoch: float) -> float:
        """Pixels; an epoch within a shortened stretch lies in proportion."""
        length = sum(last - first for first, last in self.parts) or 1
        gap = _BREAK * length
        whole = length + gap * (len(self.parts) - 1)
        room = 0.02 * (self.stop - self.start)
        done = 0.0
        for i, (first, last) in enumerate(self.parts):
            if epoch <= last or i == len(self.parts) - 1:
                if epoch < first:
                    before = self.parts[i - 1][1]
                    done -= gap * (first - epoch) / (first - before)
                    epoch = first
                break
            done += last - first + gap
        return self.start + room + (done + epoch - first) / whole * (self.stop - self.start - 2 * room)

    @property
    def breaks(self) -> list[tuple[float, float]]:
        """Pixels between which a stretch is drawn short."""
        return [(self(last), self(first)) for (_, last), (first, _) in pairwise(self.parts)]

    def ticks(self, count: int) -> list[float]:
        """Round epochs to mark, and the first after each break."""
        locator = MaxNLocator(count, integer=True)
        length = sum(last - first for first, last in self.parts) or 1
        found: list[float] = []
        for first, last in self.parts:
            if last - first < 0.1 * length:
                found.append(first)
            else:
                found += [float(v) for v in locator.tick_values(first, last) if first <= v <= last]
        return found


def curve_plot(
    runs: Sequence[dict[str, Any]], groups: Sequence[str], field: str, frame: Frame, label: str, legend: bool = False
) -> Markup:
    """Dice or loss of every run over epochs.

    Measurements are filled marks, values carried forward small hollow ones; a line breaks at holes, and a long stretch
    that no run has logged is a narrow grey band. Of losses only those out of line have a mark.

    Args:
        runs: as in report.json.
        groups: names of the groups; a run has its group's colour.
        field: `dice` or `loss`.
        label: what the drawing shows, for those who cannot see it.
        legend: whether the groups' names stand below, for a drawing that stands alone.

    Returns:
        An svg element; nothing where no run has a value.
    """
    points = [(p["epoch"], p[field]) for run in runs for p in run["curve"] if p[field] is not None]
    if not points:
        return Markup("")
    names = groups if legend else ()
    frame = replace(frame, height=frame.height + 18 * len(names), bottom=frame.bottom + 18 * len(names))
    x = Epochs.over(sorted({e for e, _ in points}), frame.left, frame.width - frame.right)
    values = [v for _, v in points]
    log = field == "loss" and min(values) > 0 and max(values) > _LOG_FROM * min(values)
    y = _scale(values, frame.height - frame.bottom, frame.top, 0.05, log)
    parts = [_axes(frame, x, y)]
    for run in runs:
        parts += _run(run, groups.index(run["group"]) % SERIES, field, x, y)
    for i, name in enumerate(names):
        height = frame.height - 18 * (len(names) - i) + 6
        parts += [
            legend_mark(i % SERIES, frame.left + 13, height),
            Markup('<text class="tick" x="{}" y="{}">{}</text>').format(frame.left + 26, height + 4, name),
        ]
    return _svg(frame, label, parts)


def legend_mark(series: int, x: float = 13, y: float = 7) -> Markup:
    """A group's mark."""
    return _mark(series, x, y, _POINT)


def _run(run: dict[str, Any], series: int, field: str, x: Epochs, y: Scale) -> Iterator[Markup]:
    rows = [p for p in run["curve"] if p[field] is not None]
    gaps = run["gaps"] + (run["dice_gaps"] if field == "dice" else [])
    path = ""
    for before, row in pairwise([None, *rows]):
        assert row is not None
        broken = before is None or any(before["epoch"] < gap["from"] < row["epoch"] for gap in gaps)
        path += f"{'M' if broken else 'L'}{x(row['epoch']):.1f} {y(row[field]):.1f}"
    yield Markup('<path class="line s{}" d="{}"/>').format(series, path)
    if field == "dice":
        marked = [(row, row["measured"]) for row in rows]
        size = _POINT if sum(measured for _, measured in marked) <= _CROWD else _SMALL_POINT
    else:
        odd = {anomaly["epoch"] for anomaly in run["loss_anomalies"]}
        marked, size = [(row, True) for row in rows if row["epoch"] in odd], _POINT
    for row, measured in marked:
        said = f"{run['name']}, {row['epoch']}: {row[field]:.4f}"
        yield _mark(series, x(row["epoch"]), y(row[field]), size if measured else None, said)


def _mark(series: int, x: float, y: float, r: float | None, said: str = "") -> Markup:
    """A disc, square, diamond or triangle (colours are not the only difference), or for no r a small hollow disc."""
    shape = series % 4 if r is not None else 0
    kind, r = ("point", r) if r is not None else ("carried", _CARRIED)
    title = Markup("<title>{}</title>").format(said) if said else Markup("")
    if shape == 0:
        return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{} s{}">{}</circle>').format(
            x, y, r, kind, series, title
        )
    corners = {
        1: [(-r, -r), (r, -r), (r, r), (-r, r)],
        2: [(0, -1.35 * r), (1.35 * r, 0), (0, 1.35 * r), (-1.35 * r, 0)],
        3: [(0, -1.25 * r), (1.2 * r, r), (-1.2 * r, r)],
    }[shape]
    path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return Markup('<polygon points="{}" class="{} s{}">{}</polygon>').format(path, kind, series, title)


def difference_plot(keys: Sequence[str], differences: Sequence[float | None], frame: Frame, label: str) -> Markup:
    """Differences image by image, sorted, a bar each: gains to one side, losses to the other."""
    bars = sorted(
        ((d, key) for key, d in zip(keys, differences, strict=True) if d is not None), key=lambda bar: -bar[0]
    )
    if not bars:
        return Markup("")
    x = Scale(0, len(bars), frame.left, frame.width - frame.right)
    y = _scale([*(d for d, _ in bars), 0.0], frame.height - 18, frame.top, 0.05)
    parts = [_axes(frame, None, y)]
    for i, (difference, key) in enumerate(bars):
        top, bottom = sorted((y(difference), y(0)))
        parts.append(
            Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
            ).format(
                "gain" if difference > 0 else "drop",
                x(i + 0.1),
                top,
                max(x(0.8) - x(0), 1.0),
                max(bottom - top, 0.5),
                f"{key}: {difference:+.4f}",
            )
        )
    parts.append(
        Markup('<line class="zero" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
            frame.left, frame.width - frame.right, y=y(0)
        )
    )
    return _svg(frame, label, parts)


def _scale(values: Sequence[float], start: float, stop: float, margin: float, log: bool = False) -> Scale:
    """A scale over the values and a little more; one value gets room on both sides."""
    low, high = min(values), max(values)
    if log:
        return Scale(low / 1.15, high * 1.15, start, stop, True)
    room = margin * (high - low) or max(abs(high) * 0.05, 0.5 if margin < 0.05 else 1e-4)
    return Scale(low - room, high + room, start, stop)


def _axes(frame: Frame, x: Epochs | None, y: Scale) -> Markup:
    right, bottom = frame.width - frame.right, frame.height - frame.bottom
    parts = []
    ticks = y.ticks(5)
    decimals = max((len(_shortest(tick).partition(".")[2]) for tick in ticks), default=0)
    for tick in ticks:
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(
                frame.left,
                right,
                frame.left - 6,
                y(tick) + 4,
                _shortest(tick) if y.log else f"{tick:.{decimals}f}",
                y=y(tick),
            )
        )
    if x is not None:
        for left, end in x.breaks:
            parts.append(
                Markup('<rect class="break" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                    left + 4, frame.top, max(end - left - 8, 2.0), bottom - frame.top
                )
            )
        for tick in x.ticks(9 if frame.width > 500 else 5):
            parts.append(
                Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{:.0f}</text>').format(
                    x(tick), bottom + 20, tick
                )
            )
    return Markup("").join(parts)


def _shortest(value: float) -> str:
    return np.format_float_positional(value, precision=9, trim="-")


def _svg(frame: Frame, label: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(frame.kind, frame.width, frame.height, label, Markup("").join(parts))


def standalone(svg: Markup, style: str) -> str:
    """A drawing as a file of its own, with the page's style in it."""
    head, rest = str(svg).split(">", 1)
    return f"{head}><style>{style}</style>{rest}\n"
