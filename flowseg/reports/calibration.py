"""Calibration plot: how often pixels of a predicted probability are vessel."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from markupsafe import Markup

from flowseg.evaluation.soft import Calibration
from flowseg.reports.drawing import Frame, Scale, axis_titles, grid, svg
from flowseg.reports.markup import element

SQUARE = Frame("square", 340, 360)
_LEAST = 100  # pixels; the share of vessel in fewer is not drawn


def calibration(
    images: Iterable[tuple[UInt8[np.ndarray, "..."], Bool[np.ndarray, "..."]]],
) -> list[dict[str, Any]]:
    """Returns the bins of predicted probability over all pixels of some images: pixels, mean prediction, vessel share.

    Each image is given as the probability in 255ths, as pictures hold it, and the truth. Empty bins are left out.
    """
    found = [Calibration.of(grey.ravel() / 255, truth.ravel()) for grey, truth in images]
    if not found:
        return []
    pixels, predicted, vessel = (
        sum(getattr(one, name) for one in found) for name in ("pixels", "predicted", "vessel")
    )
    return [
        {"pixels": int(n), "predicted": float(p / n), "vessel": float(v / n)}
        for n, p, v in zip(pixels, predicted, vessel, strict=True)
        if n
    ]


def calibration_plot(bins: list[dict[str, Any]], label: str, titles: tuple[str, str]) -> Markup:
    """Draws the share of vessel over the predicted probability; on the diagonal the two agree."""
    frame = SQUARE
    x = Scale(0.0, 1.0, frame.left, frame.width - frame.right)
    y = Scale(0.0, 1.0, frame.floor, frame.top)
    parts = [*grid(frame, y), *axis_titles(frame, *titles)]
    for tick in x.ticks(5):
        at = {"x": x(tick), "y": frame.floor + 18, "text_anchor": "middle"}
        parts.append(element("text", f"{tick:.1f}", class_="tick", **at))
    parts.append(element("line", class_="zero", x1=x(0), y1=y(0), x2=x(1), y2=y(1)))
    drawn = [one for one in bins if one["pixels"] >= _LEAST]
    path = "L".join(f"{x(one['predicted']):.1f} {y(one['vessel']):.1f}" for one in drawn)
    parts.append(element("path", class_="line s1", d=f"M{path}"))
    for one in drawn:
        said = element("title", f"{one['predicted']:.2f}: {one['vessel']:.2f} ({one['pixels']:,})")
        parts.append(element("circle", said, class_="point s1", cx=x(one["predicted"]), cy=y(one["vessel"]), r=4.0))
    return svg(frame, label, parts)
