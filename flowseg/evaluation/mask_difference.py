"""Where in the image two predicted masks differ, and whether they differ more at vessel junctions than elsewhere."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from flowseg.evaluation.arrays import Mask, pixels_inside
from flowseg.evaluation.topology import Shape, junctions, within

RADIUS = 5.0
"""The distance, in pixels at the image's stored size, up to which a pixel counts as near a junction or in the vessel
band. It is about the width of a small vessel in a 512x512 angiogram."""

MOST_WITHOUT = 0.05
"""Up to this share of resamples without a ratio there is an interval; with more it would leave out too much."""

_RESAMPLES = 10_000


@dataclass(frozen=True)
class MaskDifference:
    """Numbers of pixels of one image."""

    pixels: int
    """In the image, or inside its field of view."""
    near: int
    """Within `RADIUS` of a junction of the true mask's skeleton."""
    band: int
    """In the vessel band: within `RADIUS` of the true mask. It includes all pixels near a junction."""
    differing: int
    """In only one of the two predicted masks."""
    differing_near: int
    """Both differing and near a junction."""
    differing_band: int
    """Both differing and in the vessel band."""


@dataclass(frozen=True)
class Enrichment:
    """The share of differing pixels near junctions, divided by that of all pixels; 1 means no preference.

    It is pooled over images, and None if no pixel differs or there is no junction.
    """

    ratio: float | None
    low: float | None
    high: float | None
    """Bootstrap 95 % interval over images, of the resamples that have a ratio; None if over `MOST_WITHOUT` have none,
    as where masks differ in few images."""


def mask_difference(first: Mask, second: Mask, truth: Shape, fov: Mask | None = None) -> MaskDifference:
    """Counts the pixels that differ between two masks: all, those near junctions, and those near vessels.

    With a field of view, only pixels inside count.
    """
    near, band = within(junctions(truth.skeleton), RADIUS), within(truth.mask, RADIUS)
    near, band, differing = (pixels_inside(mask, fov) for mask in (near, band, first != second))
    counted = (near, band, differing, differing & near, differing & band)
    return MaskDifference(differing.size, *(int(np.count_nonzero(pixels)) for pixels in counted))


def share(part: int, whole: int) -> float | None:
    """part / whole; None if the whole is 0."""
    return part / whole if whole else None


def totals(rows: Sequence[MaskDifference]) -> MaskDifference:
    """The sums over images."""
    return MaskDifference(**{name: sum(asdict(row)[name] for row in rows) for name in asdict(rows[0])})


def enrichment(rows: Sequence[MaskDifference], *, band: bool, seed: int = 0) -> Enrichment:
    """How much more often two masks differ near junctions than elsewhere, with its bootstrap interval.

    With `band`, only pixels of the vessel band are compared, otherwise all pixels of the image. Masks differ mostly at
    vessels' borders; within the band, the question is whether junctions differ more than the rest of the vessels.
    """
    within_band = np.array([[r.differing_near, r.differing_band, r.near, r.band] for r in rows], np.float64)
    everywhere = np.array([[r.differing_near, r.differing, r.near, r.pixels] for r in rows], np.float64)
    counts = within_band if band else everywhere
    drawn = np.random.default_rng(seed).integers(len(rows), size=(_RESAMPLES, len(rows)))
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = _ratio(counts.sum(axis=0))
        # How often each image is drawn, instead of the drawn rows, which would take four times the memory.
        weights = np.stack([np.bincount(row, minlength=len(rows)) for row in drawn])
        ratios = _ratio((weights @ counts).T)
    ratios = ratios[np.isfinite(ratios)]
    if not np.isfinite(whole):
        return Enrichment(None, None, None)
    if len(rows) < 2 or len(ratios) < (1 - MOST_WITHOUT) * _RESAMPLES:
        return Enrichment(float(whole), None, None)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Enrichment(float(whole), float(low), float(high))


def _ratio(counts: np.ndarray) -> np.ndarray:
    differing_near, differing, near, all_pixels = counts
    return (differing_near / differing) / (near / all_pixels)
