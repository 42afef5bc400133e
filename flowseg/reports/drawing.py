"""Parts of the drawings in report pages: frames, scales, grids, and the SVG around them.

Drawings are SVG that takes its colours from the page. They are not drawn by matplotlib, so that text stays text in
every language, and lines follow the page's light or dark colours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

from flowseg.reports.markup import element


@dataclass(frozen=True)
class Frame:
    """Size and margins of a drawing, in units of which its letters are 12 high."""

    kind: str
    """Its class in the page, which shows one of the two."""
    width: int
    height: int
    left: int = 52
    right: int = 14
    top: int = 26
    bottom: int = 46

    @property
    def floor(self) -> int:
        """Where the x axis lies."""
        return self.height - self.bottom


BROAD, NARROW = Frame("broad", 600, 264), Frame("narrow", 340, 244)
"""For screens of more than 640 pixels, and for phones."""


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels along one axis."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values to mark."""
        locator = LogLocator(subs=(1.0, 2.0, 5.0), numticks=12) if self.log else MaxNLocator(count)
        return [float(v) for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]


def scale_over(values: Sequence[float], start: float, stop: float, log: bool = False) -> Scale:
    """A scale over the values and a little more."""
    low, high = min(values), max(values)
    if log:
        return Scale(low / 1.15, high * 1.15, start, stop, True)
    room = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-4)
    return Scale(low - room, high + room, start, stop)


def grid(frame: Frame, y: Scale) -> list[Markup]:
    """Horizontal lines with their values."""
    ticks = y.ticks(5)
    decimals = max((len(_shortest(tick).partition(".")[2]) for tick in ticks), default=0)
    parts = []
    for tick in ticks:
        at, text = y(tick), _shortest(tick) if y.log else f"{tick:.{decimals}f}"
        parts.append(element("line", class_="grid", x1=frame.left, x2=frame.width - frame.right, y1=at, y2=at))
        parts.append(element("text", text, class_="tick", x=frame.left - 6, y=at + 4, text_anchor="end"))
    return parts


def axis_titles(frame: Frame, x: str, y: str, below: int = 38) -> list[Markup]:
    """What the axes show: above the y axis, if that has a title, and `below` the x axis at its right end."""
    at_right = {"x": frame.width - frame.right, "y": frame.floor + below, "text_anchor": "end"}
    above = [element("text", y, class_="tick", x=4, y=14)] if y else []
    return [*above, element("text", x, class_="tick", **at_right)]


def _shortest(value: float) -> str:
    return np.format_float_positional(value, precision=9, trim="-")


def svg(frame: Frame, label: str, parts: Sequence[Markup]) -> Markup:
    """A drawing of the frame's size; `label` says what it shows to readers who do not see it."""
    box = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {frame.width} {frame.height}"}
    return element("svg", *parts, class_=frame.kind, role="img", aria_label=label, **box)


def standalone(drawn: Markup, style: str) -> str:
    """A drawing as a file of its own, with the page's style in it."""
    head, rest = str(drawn).split(">", 1)
    return f"{head}><style>{style}</style>{rest}\n"
