"""Learning curves and differences image by image, as SVG; a point under the mouse shows its value."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from flowseg.reports.drawing import Frame, Scale, axis_titles, grid, scale_over, svg
from flowseg.reports.markup import element
from flowseg.reports.tables import signed

SERIES = 8
"""The number of colours and marks; further groups begin again with the first."""

_MARKS = 4  # shapes

_POINT, _SMALL_POINT, _CARRIED = 4.0, 2.5, 1.8  # half sizes of marks, pixels
_SHORTENED = 0.25  # a stretch that no run has logged is drawn short if it is longer than this share of all epochs
_BREAK = 0.08  # its width then, as a share of the width of the others
_CROWD = 60  # marks are small if a run has more measurements
_LOG_FROM = 8.0  # the loss axis is logarithmic if the largest loss is more than this many times the smallest


@dataclass(frozen=True)
class Epochs:
    """Maps epochs to pixels; a long stretch that no run has logged is drawn short."""

    parts: tuple[tuple[int, int], ...]
    """First and last epoch of each stretch that is drawn to scale."""
    start: float
    stop: float

    @classmethod
    def over(cls, epochs: Sequence[int], start: float, stop: float) -> "Epochs":
        """The axis for the epochs that some run has logged, ascending."""
        least = _SHORTENED * (epochs[-1] - epochs[0])
        cuts = [i for i, (a, b) in enumerate(pairwise(epochs), 1) if b - a > least and b - a > 1]
        bounds = [0, *cuts, len(epochs)]
        # With hardly any epochs between the cuts, nothing would be left to draw to scale.
        parts = (
            tuple((epochs[i], epochs[j - 1]) for i, j in pairwise(bounds)) if len(epochs) > 2 * len(cuts) + 1 else ()
        )
        return cls(parts or ((epochs[0], epochs[-1]),), start, stop)

    def __call__(self, epoch: float) -> float:
        """The pixels of an epoch; within a shortened stretch it is placed in proportion."""
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
        """Start and end in pixels of each stretch that is drawn short."""
        return [(self(last), self(first)) for (_, last), (first, _) in pairwise(self.parts)]

    def ticks(self, count: int) -> list[float]:
        """About `count` round epochs to mark; the first epoch of a stretch that is too short for them."""
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
    runs: Sequence[dict[str, Any]],
    groups: Sequence[str],
    field: str,
    frame: Frame,
    label: str,
    titles: tuple[str, str],
    legend: bool = False,
) -> Markup:
    """Draws Dice or loss of every run over epochs, with the titles of both axes.

    Measurements are filled marks, values carried forward small hollow ones. A line breaks at holes, and a long stretch
    that no run has logged is a narrow grey band. Of the losses only anomalies have a mark. With `legend`, the groups'
    names stand below, for a drawing that stands alone. The drawing is empty if no run has a value.
    """
    points = [(p["epoch"], p[field]) for run in runs for p in run["curve"] if p[field] is not None]
    if not points:
        return Markup("")
    names = groups if legend else ()
    frame = replace(frame, height=frame.height + 18 * len(names), bottom=frame.bottom + 18 * len(names))
    x = Epochs.over(sorted({e for e, _ in points}), frame.left, frame.width - frame.right)
    values = [v for _, v in points]
    log = field == "loss" and min(values) > 0 and max(values) > _LOG_FROM * min(values)
    y = scale_over(values, frame.floor, frame.top, log)
    parts = [*grid(frame, y), *_epochs(frame, x), *axis_titles(frame, *titles)]
    for run in runs:
        parts += _run(run, groups.index(run["group"]) % SERIES, field, x, y)
    for i, name in enumerate(names):
        height = frame.height - 18 * (len(names) - i) + 6
        parts.append(legend_mark(i % SERIES, frame.left + 13, height))
        parts.append(element("text", name, class_="tick", x=frame.left + 32, y=height + 4))
    return svg(frame, label, parts)


def legend_mark(series: int, x: float = 13.0, y: float = 7.0) -> Markup:
    """A group's mark on a piece of its line."""
    return _line(series, f"M{x - 13:.1f} {y:.1f}h26") + _mark(series, x, y, _POINT)


def _run(run: dict[str, Any], series: int, field: str, x: Epochs, y: Scale) -> Iterator[Markup]:
    rows = [p for p in run["curve"] if p[field] is not None]
    gaps = run["gaps"] + (run["dice_gaps"] if field == "dice" else [])
    starts = sorted(gap["from"] for gap in gaps)
    path = ""
    for before, row in pairwise([None, *rows]):
        assert row is not None
        broken = before is None or bisect_right(starts, before["epoch"]) < bisect_left(starts, row["epoch"])
        path += f"{'M' if broken else 'L'}{x(row['epoch']):.1f} {y(row[field]):.1f}"
    yield _line(series, path)
    odd = {anomaly["epoch"] for anomaly in run["loss_anomalies"]}
    crowded = field == "dice" and sum(row["measured"] for row in rows) > _CROWD
    for row in rows:
        if field == "dice" or row["epoch"] in odd:
            size = _CARRIED if field == "dice" and not row["measured"] else _SMALL_POINT if crowded else _POINT
            yield _mark(
                series, x(row["epoch"]), y(row[field]), size, f"{run['name']}, {row['epoch']}: {row[field]:.4f}"
            )


def _line(series: int, path: str) -> Markup:
    """A line, dashed for series that have the marks of others, so that groups differ not by colour alone."""
    return element("path", class_=f"line s{series}{' dashed' if series >= _MARKS else ''}", d=path)


def _mark(series: int, x: float, y: float, r: float, said: str = "") -> Markup:
    """A disc, square, diamond or triangle; a hollow disc if carried."""
    title = [element("title", said)] if said else []
    kind = f"{'carried' if r == _CARRIED else 'point'} s{series}"
    corners = {
        1: [(-r, -r), (r, -r), (r, r), (-r, r)],
        2: [(0, -1.35 * r), (1.35 * r, 0), (0, 1.35 * r), (-1.35 * r, 0)],
        3: [(0, -1.25 * r), (1.2 * r, r), (-1.2 * r, r)],
    }.get(series % _MARKS if r != _CARRIED else 0)
    if corners is None:
        return element("circle", *title, cx=x, cy=y, r=r, class_=kind)
    return element("polygon", *title, points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners), class_=kind)


def difference_plot(
    keys: Sequence[str], differences: Sequence[float | None], frame: Frame, label: str, titles: tuple[str, str]
) -> Markup:
    """Draws differences image by image, sorted, one bar each, with titles of both axes; empty if there are none."""
    pairs = zip(keys, differences, strict=True)
    bars = sorted(((d, key) for key, d in pairs if d is not None), key=lambda bar: -bar[0])
    if not bars:
        return Markup("")
    x = Scale(0, len(bars), frame.left, frame.width - frame.right)
    y = scale_over([*(d for d, _ in bars), 0.0], frame.floor, frame.top)
    parts = [*grid(frame, y), *axis_titles(frame, *titles, below=18)]
    for i, (difference, key) in enumerate(bars):
        top, bottom = sorted((y(difference), y(0)))
        size = {"width": max(x(0.8) - x(0), 1.0), "height": max(bottom - top, 0.5)}
        title = element("title", f"{key}: {signed(difference)}")
        parts.append(element("rect", title, class_="gain" if difference > 0 else "drop", x=x(i + 0.1), y=top, **size))
    ends = {"x1": frame.left, "x2": frame.width - frame.right}
    parts.append(element("line", class_="zero", y1=y(0), y2=y(0), **ends))
    return svg(frame, label, parts)


def _epochs(frame: Frame, x: Epochs) -> Iterator[Markup]:
    """Grey bands for stretches that are drawn short, and the numbers of some epochs."""
    bottom = frame.floor
    for left, right in x.breaks:
        size = {"width": max(right - left - 8, 2.0), "height": bottom - frame.top}
        yield element("rect", class_="break", x=left + 4, y=frame.top, **size)
    for tick in x.ticks(9 if frame.width > 500 else 5):
        yield element("text", f"{tick:.0f}", class_="tick", x=x(tick), y=bottom + 20, text_anchor="middle")
