"""The plots of the FiLM analysis, as PNG files in memory.

Panels are stacked and not side by side, so that they can be read on a phone. Colours are Okabe and Ito's (2008).
"""

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from flowseg.evaluation.film_effect import OWN, FilmEffect, Shown
from flowseg.evaluation.overlays import overlay, strip
from flowseg.reports.verdict import MIN_DIFFERENCE

Pictures = dict[str, bytes]
"""PNG files by their names in the report's folder."""

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#767676"
_STAGE_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_STAGE_MARKERS = "osD^"

WIDTH = 6.4  # inches
_DPI = 130
_PANEL = 288  # largest side of a gallery panel, pixels: four of them make a page's width

CURVES = {
    "gamma_change": "mean |gamma − 1|",
    "gamma_between": "gamma: standard deviation between images",
    "beta_change": "mean |beta|",
    "beta_between": "beta: standard deviation between images",
    "condition_norm": "length of the condition vector",
    "condition_between": "condition: standard deviation between images",
}
"""Fields of the lines of kind `film` in metrics.jsonl, with their titles; older versions did not write all."""

Grey = UInt8[np.ndarray, "h w"]


def draw(
    effect: FilmEffect, summary: dict[str, Any], curves: Sequence[dict[str, Any]], greys: Sequence[Grey]
) -> Pictures:
    """All pictures of a report.

    plots/curves.png is there if the run has recorded some `curves` (lines of kind `film` of its metrics.jsonl), and
    plots/difference.png if all images have one size; `greys` are the images of the gallery.
    """
    pictures = {"plots/dice.png": dice_plot(summary), "plots/modulation.png": modulation_plot(summary["modulation"])}
    if any(name in line for line in curves for name in CURVES):
        pictures["plots/curves.png"] = curves_plot(curves, summary["step"])
    if effect.maps:
        pictures["plots/difference.png"] = maps_plot(effect.maps)
    top = max((float(np.abs(s.own - s.other).max()) for s in effect.gallery), default=1.0)
    for i, (shown, grey) in enumerate(zip(effect.gallery, greys, strict=True)):
        pictures[f"plots/gallery-{i + 1}.png"] = gallery_picture(shown, grey, top)
    return pictures


def dice_plot(summary: dict[str, Any]) -> bytes:
    """Dice of every image under each condition, and own minus each of the others."""
    names = list(summary["conditions"])
    figure = Figure(figsize=(WIDTH, 1.7 + 0.62 * len(names)), layout="constrained")
    above, below = figure.subplots(2, 1)
    for row, name in enumerate(names):
        condition = summary["conditions"][name]
        _row(above, row, condition["per_image"]["dice"], condition["mean"]["dice"], BLUE if name == OWN else GREY)
    _label(above, names, "Dice: images (dots), mean and 95 % interval")
    own = np.asarray(summary["conditions"][OWN]["per_image"]["dice"])
    for row, name in enumerate(names[1:]):
        difference = summary["differences"][name]["dice"]
        values = own - np.asarray(summary["conditions"][name]["per_image"]["dice"])
        _row(below, row, list(values), difference, BLUE)
    below.axvspan(-MIN_DIFFERENCE, MIN_DIFFERENCE, color=ORANGE, alpha=0.25, lw=0)
    below.axvline(0, color="black", lw=0.8)
    _label(below, [f"own − {name}" for name in names[1:]], f"difference of Dice (shaded: under {MIN_DIFFERENCE})")
    return _png(figure)


def _row(axes: Axes, row: int, values: Sequence[float], interval: dict[str, float], colour: str) -> None:
    scatter = np.random.default_rng(row).uniform(-0.28, 0.28, len(values))
    axes.plot(values, row + scatter, ".", color=colour, alpha=0.6, ms=5, mew=0)
    reach = [[interval["mean"] - interval["low"]], [interval["high"] - interval["mean"]]]
    axes.errorbar([interval["mean"]], [row], xerr=np.maximum(reach, 0), fmt="o", color="black", ms=4, capsize=3)


def _label(axes: Axes, names: Sequence[str], title: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(axis="x", lw=0.4)
    axes.set_axisbelow(True)


def modulation_plot(stages: Sequence[dict[str, Any]]) -> bytes:
    """Constant and image-dependent part of each stage's modulation, stacked."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    for axes, part, title in zip(figure.subplots(2, 1), ("gamma", "beta"), ("(gamma − 1)²", "beta²"), strict=True):
        places = range(len(stages))
        constant = [stage[part]["constant"] for stage in stages]
        between = [stage[part]["between"] for stage in stages]
        axes.bar(places, constant, color=GREY, label="the same for every image", width=0.6)
        axes.bar(places, between, bottom=constant, color=BLUE, label="depends on the image", width=0.6)
        for place, stage in zip(places, stages, strict=True):
            said = "none" if stage[part]["share"] is None else f"{100 * stage[part]['share']:.0f} %"
            axes.annotate(said, (place, stage[part]["total"]), (0, 3), textcoords="offset points", ha="center")
        axes.set_xticks(places, [f"stage {stage['stage']}" for stage in stages])
        axes.set_ylabel(f"mean {title}")
        axes.margins(y=0.18)
        axes.set_ylim(bottom=0)
    # Below the panels: no corner of a bar chart is free for certain.
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return _png(figure)


def curves_plot(lines: Sequence[dict[str, Any]], step: int) -> bytes:
    """FiLM statistics over training, a line per stage; the analysed checkpoint's step is marked."""
    names = [name for name in CURVES if any(name in line for line in lines)]
    figure = Figure(figsize=(WIDTH, 0.5 + 1.65 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    stages = sorted({line["stage"] for line in lines})
    for axes, name in zip(panels, names, strict=True):
        if name.startswith("condition"):  # of the network, repeated in every stage's line
            whole = {line["step"]: line[name] for line in lines if name in line}
            axes.plot(list(whole), list(whole.values()), color="black", marker=".", lw=1.3)
        else:
            for stage in stages:
                points = {line["step"]: line[name] for line in lines if line["stage"] == stage and name in line}
                style = {"marker": _STAGE_MARKERS[stage], "color": _STAGE_COLOURS[stage], "label": f"stage {stage}"}
                axes.plot(list(points), list(points.values()), ms=4, lw=1.3, **style)
        axes.axvline(step, color="black", lw=0.8, ls=":")
        axes.set_title(CURVES[name], fontsize=10, loc="left")
        axes.grid(lw=0.4)
        axes.set_ylim(0, 1.1 * axes.dataLim.y1 or 1)  # room above; 1 where all is 0
    panels[-1].set_xlabel("training step (dotted: the analysed checkpoint)")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return _png(figure)


def maps_plot(maps: dict[str, Float[np.ndarray, "h w"]]) -> bytes:
    """Mean absolute differences of probability, all on one scale."""
    top = max(float(m.max()) for m in maps.values()) or 1.0
    h, w = next(iter(maps.values())).shape
    side = WIDTH / len(maps)
    figure = Figure(figsize=(WIDTH, min(side * h / w, 8.0) + 1.0), layout="constrained")
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, values) in zip(panels, maps.items(), strict=True):
        shown = axes.imshow(values, cmap="magma", vmin=0, vmax=top)
        axes.set_title(f"own against {name}", fontsize=10)
        axes.set_axis_off()
    figure.colorbar(shown, ax=list(panels), location="bottom", label="mean |difference of probability|", shrink=0.7)
    return _png(figure)


def gallery_picture(shown: Shown, grey: Grey, top: float) -> bytes:
    """The image, the masks under own and other, and |difference of probability| from 0 (black) to `top`."""
    difference = np.abs(shown.own - shown.other)
    heat = colormaps["magma"](difference / top, bytes=True)[..., :3]
    masks = [overlay(grey, probability > 0.5, shown.truth) for probability in (shown.own, shown.other)]
    panels = [grey, *masks, np.asarray(heat, np.uint8)]
    file = io.BytesIO()
    Image.fromarray(strip([_fit(panel) for panel in panels])).save(file, format="PNG")
    return file.getvalue()


def _fit(panel: np.ndarray) -> np.ndarray:
    """The panel with its longer side at most `_PANEL` pixels."""
    h, w = panel.shape[:2]
    scale = min(_PANEL / max(h, w), 1.0)
    return cv2.resize(panel, (max(round(w * scale), 1), max(round(h * scale), 1)), interpolation=cv2.INTER_AREA)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # Without matplotlib's signature: the same numbers give the same file.
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
