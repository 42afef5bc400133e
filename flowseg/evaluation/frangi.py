"""The classical reference: Frangi's vesselness filter and one threshold, tuned on validation images.

Source: A. F. Frangi, W. J. Niessen, K. L. Vincken, M. A. Viergever, "Multiscale vessel enhancement
filtering", MICCAI 1998, doi:10.1007/BFb0056195; the filter itself is scikit-image's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from skimage.filters import frangi

BASE_SIGMAS = (1.0, 2.0**0.5, 2.0)
"""Gaussian widths in pixels, before `FrangiSettings.scale`; vessels answer at about half their width."""

SCALES = (1.0, 2.0**0.5, 2.0, 2.0**1.5, 4.0)
"""The scales that `tune` tries. Neighbours share two of their three sigmas, which `tune` computes once."""

THRESHOLDS: Float32[np.ndarray, "99"] = (np.arange(1, 100) / 100).astype(np.float32)
"""The thresholds that `tune` tries. None is 0: that would mark pixels without any response."""

_TOP_PERCENTILE = 97.0  # a few bright specks do not set the range; vessels cover at least about 3 percent
_POLARITY_SIGMA = 2.0**1.5


@dataclass(frozen=True)
class FrangiSettings:
    """What `tune` chooses: the multiplier of `BASE_SIGMAS`, the threshold on vesselness, the polarity."""

    scale: float
    threshold: float
    dark_vessels: bool


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"image must be uint8 of two dimensions, not empty, got {image.dtype} {image.shape}")


def _ridge(image: UInt8[np.ndarray, "H W"], sigma: float, dark_vessels: bool) -> Float32[np.ndarray, "H W"]:
    """Frangi's response at one sigma. One call each, so that every sigma gets its own constant c."""
    grey = image.astype(np.float32) / 255
    return np.asarray(frangi(grey, [sigma], black_ridges=dark_vessels), dtype=np.float32)


def _combine(ridges: Sequence[Float32[np.ndarray, "H W"]]) -> Float32[np.ndarray, "H W"]:
    """The largest response over the sigmas, scaled per image by a high percentile and cut at 1."""
    top = np.max(np.stack(ridges), axis=0)
    # The floor is for images of which less than the percentile's share answers; without any answer all is 0.
    reach = max(float(np.percentile(top, _TOP_PERCENTILE)), 1e-3 * float(top.max()), 1e-30)
    return np.minimum(top / np.float32(reach), np.float32(1.0))


def vesselness(image: UInt8[np.ndarray, "H W"], scale: float, dark_vessels: bool) -> Float32[np.ndarray, "H W"]:
    """Frangi's vesselness over `scale * BASE_SIGMAS`, comparable between images.

    The response is divided by its 97th percentile over the image and cut at 1, so that one threshold serves
    images of different contrast. Nothing else is done to the image: the edge of an X-ray's black surround answers
    too, and costs the filter Dice.

    Args:
        image: grey image, uint8.
        scale: multiplies `BASE_SIGMAS`, pixels; above 0.
        dark_vessels: True for vessels darker than their surroundings (X-ray), False for brighter (OCTA).

    Returns:
        Vesselness in [0, 1], float32; all 0 for a constant image.

    Raises:
        ValueError: the image is not uint8 of two dimensions, or scale is not above 0.
    """
    _check_image(image)
    if not scale > 0.0:
        raise ValueError(f"scale must be above 0, got {scale}")
    return _combine([_ridge(image, scale * base, dark_vessels) for base in BASE_SIGMAS])


def _dice_curve(response: Float32[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]) -> Float64[np.ndarray, "99"]:
    """Dice of `response >= t` for every t in THRESHOLDS, from one histogram."""

    # How many thresholds each pixel passes; the pixels that pass the k-th are those that pass more than k.
    passed = np.searchsorted(THRESHOLDS, response.ravel(), side="right")
    bins = len(THRESHOLDS) + 1
    predicted = np.bincount(passed, minlength=bins)[::-1].cumsum()[::-1][1:]
    hit = np.bincount(passed[mask.ravel()], minlength=bins)[::-1].cumsum()[::-1][1:]
    total = predicted + np.count_nonzero(mask)
    return np.where(total > 0, 2.0 * hit / np.maximum(total, 1), 1.0)  # both masks empty: 1


def tune(images: Sequence[UInt8[np.ndarray, "H W"]], masks: Sequence[Bool[np.ndarray, "H W"]]) -> FrangiSettings:
    """Choose polarity, scale and threshold by the mean Dice over validation images.

    The polarity is settled first, with one middle sigma; then every pair of `SCALES` and `THRESHOLDS` is
    tried at full resolution. The choice is deterministic; of equals the first wins (dark vessels, the
    smaller scale, the lower threshold). About 0.8 s and 2 MB for each image of 512×512 pixels.

    Args:
        images: grey images, uint8; their sizes may differ.
        masks: the vessel masks, bool, each of its image's shape.

    Returns:
        The settings with the highest mean Dice.

    Raises:
        ValueError: no images, unequal numbers of images and masks, or a pair that does not fit.
    """
    if not images or len(images) != len(masks):
        raise ValueError(f"need as many masks as images and at least one, got {len(images)} and {len(masks)}")
    for image, mask in zip(images, masks, strict=True):
        _check_image(image)
        if mask.shape != image.shape or mask.dtype != np.bool_:
            raise ValueError(f"mask must be bool {image.shape}, got {mask.dtype} {mask.shape}")

    middle: dict[bool, list[Float32[np.ndarray, "H W"]]] = {}
    best: dict[bool, float] = {}
    for dark in (True, False):
        middle[dark] = [_ridge(image, _POLARITY_SIGMA, dark) for image in images]
        curves = [_dice_curve(_combine([ridge]), mask) for ridge, mask in zip(middle[dark], masks, strict=True)]
        best[dark] = float(np.mean(curves, axis=0).max())
    dark_vessels = best[True] >= best[False]

    dice = np.zeros((len(SCALES), len(THRESHOLDS)))
    for image, mask, ridge in zip(images, masks, middle[dark_vessels], strict=True):
        ridges = {round(_POLARITY_SIGMA, 6): ridge}
        for row, scale in enumerate(SCALES):
            # Rounded, so that products meant to be equal are one key.
            sigmas = [round(scale * base, 6) for base in BASE_SIGMAS]
            for sigma in sigmas:
                if sigma not in ridges:
                    ridges[sigma] = _ridge(image, sigma, dark_vessels)
            response = _combine([ridges[sigma] for sigma in sigmas])
            dice[row] += _dice_curve(response, mask)
    best_scale, best_threshold = divmod(int(dice.argmax()), len(THRESHOLDS))
    return FrangiSettings(
        scale=SCALES[best_scale],
        threshold=round(float(THRESHOLDS[best_threshold]), 2),
        dark_vessels=dark_vessels,
    )


def segment(image: UInt8[np.ndarray, "H W"], settings: FrangiSettings) -> Bool[np.ndarray, "H W"]:
    """The pixels whose vesselness reaches the threshold.

    Args:
        image: grey image, uint8.
        settings: what `tune` chose.

    Returns:
        The vessel mask, bool.

    Raises:
        ValueError: as `vesselness`.
    """
    return vesselness(image, settings.scale, settings.dark_vessels) >= np.float32(settings.threshold)
