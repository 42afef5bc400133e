"""Where in the image two predictions differ: at vessel junctions more than elsewhere?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool

from flowseg.evaluation.topology import Shape, junctions, within

RADIUS = 5.0
"""Pixels, at the image's stored size: how near to a junction counts as at it, and how wide the vessel band is.
About the width of a small vessel in a 512x512 angiogram."""

_RESAMPLES = 10_000


@dataclass(frozen=True)
class MaskDifference:
    """One image: numbers of pixels."""

    pixels: int
    """In the image."""
    near: int
    """Within `RADIUS` of a junction of the true mask's skeleton."""
    band: int
    """Of the vessel band: within `RADIUS` of the true mask. It holds all that is near a junction."""
    differing: int
    """In one of the two predicted masks only."""
    differing_near: int
    differing_band: int


@dataclass(frozen=True)
class Enrichment:
    """How many times more of the differing pixels than of all pixels lie near junctions; 1 is no preference.

    Pooled over images. None where it is not defined: nothing differs, or no junction.
    """

    ratio: float | None
    low: float | None
    high: float | None
    """Bootstrap 95 % interval over images."""


def mask_difference(first: Bool[np.ndarray, "H W"], second: Bool[np.ndarray, "H W"], truth: Shape) -> MaskDifference:
    """Counts the pixels that differ between two masks, and those of them near junctions and vessels."""
    near, band = within(junctions(truth.skeleton), RADIUS), within(truth.mask, RADIUS)
    differing = first != second
    return MaskDifference(
        pixels=differing.size,
        near=int(np.count_nonzero(near)),
        band=int(np.count_nonzero(band)),
        differing=int(np.count_nonzero(differing)),
        differing_near=int(np.count_nonzero(differing & near)),
        differing_band=int(np.count_nonzero(differing & band)),
    )


def share(part: int, whole: int) -> float | None:
    """part / whole; None of nothing."""
    return part / whole if whole else None


def totals(rows: Sequence[MaskDifference]) -> MaskDifference:
    """Sums over images."""
    return MaskDifference(**{name: sum(asdict(row)[name] for row in rows) for name in asdict(rows[0])})


def enrichment(rows: Sequence[MaskDifference], *, band: bool, seed: int = 0) -> Enrichment:
    """The share of differing pixels near junctions over the share of pixels that lie there.

    Args:
        rows: one per image.
        band: compare within the vessel band only (differing pixels in it with pixels in it): vessels' borders differ
            anyway, the question is whether junctions do more. Otherwise in the whole image.
        seed: seeds the bootstrap's draws.
    """
    within_band = np.array([[r.differing_near, r.differing_band, r.near, r.band] for r in rows], np.float64)
    everywhere = np.array([[r.differing_near, r.differing, r.near, r.pixels] for r in rows], np.float64)
    counts = within_band if band else everywhere
    drawn = np.random.default_rng(seed).integers(len(rows), size=(_RESAMPLES, len(rows)))
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = _ratio(counts.sum(axis=0))
        # Weights instead of rows: resamples x images numbers, not four times as many.
        weights = np.stack([np.bincount(row, minlength=len(rows)) for row in drawn])
        ratios = _ratio((weights @ counts).T)
    ratios = ratios[np.isfinite(ratios)]
    if not np.isfinite(whole):
        return Enrichment(None, None, None)
    if len(rows) < 2 or not len(ratios):
        return Enrichment(float(whole), None, None)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Enrichment(float(whole), float(low), float(high))


def _ratio(counts: np.ndarray) -> np.ndarray:
    differing_near, differing, near, all_pixels = counts
    return (differing_near / differing) / (near / all_pixels)
