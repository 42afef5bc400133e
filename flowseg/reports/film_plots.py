"""The plots of the FiLM analysis, as SVG: each in a broad and a narrow form, of which the page shows one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup

from flowseg.evaluation.film_effect import OWN
from flowseg.reports.compare.words import Words
from flowseg.reports.drawing import BROAD, NARROW, Frame, Scale, axis_titles, grid, scale_over, standalone, svg
from flowseg.reports.markup import element
from flowseg.reports.pages import style
from flowseg.reports.verdict import MIN_DIFFERENCE

CURVES = ("gamma_change", "gamma_between", "beta_change", "beta_between", "condition_norm", "condition_between")
"""Fields of the lines of kind `film` in metrics.jsonl; older versions did not write all."""
PARTS = {"gamma": "(gamma − 1)²", "beta": "beta²"}

_ROW = 34  # height of a row of dots


class Plots:
    """The plots of a report by name: dice, differences, gamma, beta, and those of `CURVES` that the run recorded.

    Args:
        summary: what report.json holds.
        lines: the lines of kind `film` of the run's metrics.jsonl.
    """

    def __init__(self, summary: dict[str, Any], lines: Sequence[dict[str, Any]], words: Words):
        self._summary, self._lines, self._words = summary, lines, words
        self.curves = [name for name in CURVES if any(name in line for line in lines)]

    def __call__(self, name: str) -> Markup:
        """A plot in both forms, for the page."""
        return Markup("").join(self._drawn(name, frame) for frame in (BROAD, NARROW))

    def caption(self, name: str) -> str:
        """What a plot shows."""
        if name in PARTS:
            return self._words("film_bars", part=PARTS[name])
        if name in CURVES:
            return self._words(f"curve_{name}")
        return self._words(f"film_{name}_plot", least=MIN_DIFFERENCE)

    def standalone(self) -> dict[str, str]:
        """The plots as SVG files of their own."""
        names = ("dice", "differences", *PARTS, *self.curves)
        return {f"plots/{name}.svg": standalone(self._drawn(name, BROAD), style("plots.css")) for name in names}

    def _drawn(self, name: str, frame: Frame) -> Markup:
        drawers: dict[str, Callable[[Frame], tuple[Frame, list[Markup]]]] = {
            "dice": self._dice,
            "differences": self._differences,
        }
        if name in PARTS:
            frame, parts = self._bars(name, frame)
        elif name in drawers:
            frame, parts = drawers[name](frame)
        else:
            frame, parts = self._curve(name, frame)
        return svg(frame, self.caption(name), parts)

    def _dice(self, frame: Frame) -> tuple[Frame, list[Markup]]:
        rows = [
            (name, found["per_image"]["dice"], found["mean"]["dice"])
            for name, found in self._summary["conditions"].items()
        ]
        return _rows(frame, rows, "Dice")

    def _differences(self, frame: Frame) -> tuple[Frame, list[Markup]]:
        conditions = self._summary["conditions"]
        own = np.asarray(conditions[OWN]["per_image"]["dice"])
        rows = [
            (f"own − {name}", list(own - np.asarray(conditions[name]["per_image"]["dice"])), found["dice"])
            for name, found in self._summary["differences"].items()
        ]
        return _rows(frame, rows, self._words("film_axis_difference"), band=MIN_DIFFERENCE)

    def _bars(self, part: str, frame: Frame) -> tuple[Frame, list[Markup]]:
        """Constant and image-dependent part of each stage's modulation, stacked."""
        stages = self._summary["modulation"]
        top = 1.15 * max(stage[part]["total"] for stage in stages) or 1.0
        y = Scale(0.0, top, frame.floor, frame.top)
        room = (frame.width - frame.left - frame.right) / len(stages)
        parts = grid(frame, y)
        for i, stage in enumerate(stages):
            found, middle = stage[part], frame.left + (i + 0.5) * room
            width = min(0.6 * room, 70.0)
            below = 0.0
            for name, kind in (("constant", "s6"), ("between", "s0")):
                from_, to = y(below), y(below + found[name])
                parts.append(
                    element("rect", class_=f"bar {kind}", x=middle - width / 2, y=to, width=width, height=from_ - to)
                )
                below += found[name]
            share = "–" if found["share"] is None else f"{100 * found['share']:.0f} %"
            parts.append(
                element("text", share, class_="tick", x=middle, y=y(found["total"]) - 5, text_anchor="middle")
            )
            parts.append(
                element("text", str(stage["stage"]), class_="tick", x=middle, y=frame.floor + 18, text_anchor="middle")
            )
        return frame, [*parts, *axis_titles(frame, self._words("stage"), PARTS[part])]

    def _curve(self, name: str, frame: Frame) -> tuple[Frame, list[Markup]]:
        """A statistic over training, a line per stage; one line if it is of the whole network."""
        whole = name.startswith("condition")  # repeated in every stage's line
        stages = sorted({line["stage"] for line in self._lines if name in line})
        series = {
            stage: {line["step"]: line[name] for line in self._lines if name in line and line["stage"] == stage}
            for stage in (stages[:1] if whole else stages)
        }
        steps = sorted({step for points in series.values() for step in points})
        frame = replace(frame, right=24, top=10)
        x = scale_over([*steps, self._summary["step"]], frame.left + 4, frame.width - frame.right)
        values = [value for points in series.values() for value in points.values()]
        y = Scale(0.0, 1.1 * max(values) or 1.0, frame.floor, frame.top)
        parts = grid(frame, y)
        at = x(self._summary["step"])
        parts.append(element("line", class_="zero", x1=at, x2=at, y1=frame.top, y2=frame.floor))
        for tick in x.ticks(4):
            parts.append(
                element("text", f"{tick:g}", class_="tick", x=x(tick), y=frame.floor + 18, text_anchor="middle")
            )
        for stage, points in series.items():
            kind = "s6" if whole else f"s{stage}"
            places = [(x(step), y(value)) for step, value in points.items()]
            path = " ".join(f"{'L' if i else 'M'}{px:.1f} {py:.1f}" for i, (px, py) in enumerate(places))
            parts.append(element("path", class_=f"line {kind}", d=path))
            parts += [element("circle", class_=f"point {kind}", cx=px, cy=py, r=3.0) for px, py in places]
            if not whole:
                parts.append(element("text", str(stage), class_="tick", x=places[-1][0] + 7, y=places[-1][1] + 4))
        return frame, [*parts, *axis_titles(frame, self._words("film_step"), "")]


def _rows(
    frame: Frame, rows: Sequence[tuple[str, Sequence[float], dict[str, float]]], title: str, band: float = 0.0
) -> tuple[Frame, list[Markup]]:
    """A row of dots for each name, with its mean and interval; the values within `band` of 0 are shaded."""
    frame = replace(frame, left=112, top=8, height=8 + _ROW * len(rows) + frame.bottom)
    values = [value for _, row, interval in rows for value in (*row, interval["low"], interval["high"])]
    x = scale_over([*values, *((-band, band) if band else ())], frame.left, frame.width - frame.right)
    parts = []
    if band:
        left, right = x(-band), x(band)
        parts.append(
            element("rect", class_="break", x=left, y=frame.top, width=right - left, height=frame.floor - frame.top)
        )
        parts.append(element("line", class_="zero", x1=x(0.0), x2=x(0.0), y1=frame.top, y2=frame.floor))
    for tick in x.ticks(5 if frame.kind == "broad" else 3):
        at = x(tick)
        parts.append(element("line", class_="grid", x1=at, x2=at, y1=frame.top, y2=frame.floor))
        parts.append(element("text", f"{tick:g}", class_="tick", x=at, y=frame.floor + 16, text_anchor="middle"))
    for i, (name, row, interval) in enumerate(rows):
        middle = frame.top + (i + 0.5) * _ROW
        parts.append(element("text", name, class_="tick", x=4, y=middle + 4))
        scatter = np.random.default_rng(i).uniform(-0.3, 0.3, len(row))
        for value, off in zip(row, scatter, strict=True):
            parts.append(element("circle", class_="point s0", cx=x(value), cy=float(middle + off * _ROW), r=2.5))
        ends = {"x1": x(interval["low"]), "x2": x(interval["high"])}
        parts.append(element("line", class_="interval", y1=middle, y2=middle, **ends))
        parts.append(element("circle", class_="mean", cx=x(interval["mean"]), cy=middle, r=4.0))
    return frame, [*parts, *axis_titles(frame, title, "", below=36)]
