"""The classical reference: Frangi's vesselness filter and a threshold, both tuned on validation images.

Source: A. F. Frangi, W. J. Niessen, K. L. Vincken, M. A. Viergever, "Multiscale vessel enhancement
filtering", MICCAI 1998, doi:10.1007/BFb0056195; the filter itself is scikit-image's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from skimage.filters import frangi

from flowseg.evaluation.arrays import Grey, Mask, check_grey, check_masks, pixels_inside
from flowseg.sampling.mask import dice_by_threshold

BASE_SIGMAS = (1.0, 2.0**0.5, 2.0)
"""Gaussian widths in pixels, to be multiplied by `FrangiSettings.scale`. A vessel responds most at half its width."""

SCALES = (1.0, 2.0**0.5, 2.0, 2.0**1.5, 4.0)
"""The scales that `tune` tries. Neighbouring scales share two of three sigmas; `tune` computes each sigma once."""

THRESHOLDS: Float32[np.ndarray, "99"] = (np.arange(1, 100) / 100).astype(np.float32)
"""The thresholds that `tune` tries. None is 0, which would mark pixels without any response as vessel."""

_TOP_PERCENTILE = 97.0  # not the maximum, which a few bright specks decide; vessels cover about 3 % or more
_POLARITY_SIGMA = 2.0**1.5

Response = Float32[np.ndarray, "H W"]


@dataclass(frozen=True)
class FrangiSettings:
    """The settings that `tune` chooses: the multiplier of `BASE_SIGMAS`, the threshold on vesselness, the polarity."""

    scale: float
    threshold: float
    dark_vessels: bool


def _ridge(image: Grey, sigma: float, dark_vessels: bool) -> Response:
    """Frangi's response at one sigma. scikit-image is called per sigma, so that each gets its own constant c."""
    grey = image.astype(np.float32) / 255
    return np.asarray(frangi(grey, [sigma], black_ridges=dark_vessels), dtype=np.float32)


def _combine(ridges: Sequence[Response], fov: Mask | None) -> Response:
    """The largest response over the sigmas, divided by a high percentile of the image and clipped at 1.

    With a field of view the percentile is that of the pixels inside, and the response outside is 0.
    """
    top = np.max(np.stack(ridges), axis=0)
    if fov is not None:
        top = np.where(fov, top, np.float32(0))
    # The percentile is 0 if only few pixels respond; an image without any response stays 0.
    reach = max(float(np.percentile(pixels_inside(top, fov), _TOP_PERCENTILE)), 1e-3 * float(top.max()), 1e-30)
    return np.minimum(top / np.float32(reach), np.float32(1.0))


def vesselness(image: Grey, scale: float, dark_vessels: bool, fov: Mask | None = None) -> Response:
    """Frangi's vesselness over `scale * BASE_SIGMAS`, in [0, 1]; all 0 for a constant image.

    The response is divided by its 97th percentile over the image and clipped at 1, so that one threshold suits
    images of different contrast. The image is not preprocessed: the filter also responds to the edge of the X-ray
    field, which lowers its Dice.

    Args:
        dark_vessels: True if vessels are darker than their surroundings (X-ray), False if brighter (OCTA).
        fov: the field of view, outside which the response is 0; the filter still sees the whole image.

    Raises:
        ValueError: the image is not uint8 of two dimensions, or scale is not above 0.
    """
    check_grey(image)
    if not scale > 0.0:
        raise ValueError(f"scale must be above 0, got {scale}")
    return _combine([_ridge(image, scale * base, dark_vessels) for base in BASE_SIGMAS], fov)


def _dice_curve(response: Response, mask: Mask) -> Float64[np.ndarray, "99"]:
    """The Dice of `response >= t` for every t in THRESHOLDS, from one histogram."""
    return dice_by_threshold(
        np.searchsorted(THRESHOLDS, response.ravel(), side="right"), mask.ravel(), len(THRESHOLDS)
    )


def tune(images: Sequence[Grey], masks: Sequence[Mask], fovs: Sequence[Mask | None] | None = None) -> FrangiSettings:
    """The polarity, scale and threshold with the highest mean Dice over validation images.

    The polarity is chosen first, at one medium sigma; then every pair of `SCALES` and `THRESHOLDS` is tried. The
    choice is deterministic: among equals it takes dark vessels, the smaller scale and the lower threshold. It takes
    about 0.8 s and 2 MB for each image of 512×512 pixels. The sizes of images may differ. With fields of view, outside
    which no mask has vessels, only the pixels inside count.

    Raises a ValueError if there are no images, or not as many masks, or a mask does not fit its image.
    """
    if not images or len(images) != len(masks):
        raise ValueError(f"need as many masks as images and at least one, got {len(images)} and {len(masks)}")
    fovs = fovs or [None] * len(images)
    for image, mask in zip(images, masks, strict=True):
        check_grey(image)
        check_masks(image.shape, mask=mask)

    middle: dict[bool, list[Response]] = {}
    best: dict[bool, float] = {}
    for dark in (True, False):
        middle[dark] = [_ridge(image, _POLARITY_SIGMA, dark) for image in images]
        found = zip(middle[dark], masks, fovs, strict=True)
        curves = [_dice_curve(_combine([ridge], fov), mask) for ridge, mask, fov in found]
        best[dark] = float(np.mean(curves, axis=0).max())
    dark_vessels = best[True] >= best[False]

    dice = np.zeros((len(SCALES), len(THRESHOLDS)))
    for image, mask, fov, ridge in zip(images, masks, fovs, middle[dark_vessels], strict=True):
        ridges = {round(_POLARITY_SIGMA, 6): ridge}
        for row, scale in enumerate(SCALES):
            # Rounded, so that equal products give the same key.
            sigmas = [round(scale * base, 6) for base in BASE_SIGMAS]
            for sigma in sigmas:
                if sigma not in ridges:
                    ridges[sigma] = _ridge(image, sigma, dark_vessels)
            response = _combine([ridges[sigma] for sigma in sigmas], fov)
            dice[row] += _dice_curve(response, mask)
    best_scale, best_threshold = divmod(int(dice.argmax()), len(THRESHOLDS))
    return FrangiSettings(SCALES[best_scale], round(float(THRESHOLDS[best_threshold]), 2), dark_vessels)


def segment(image: Grey, settings: FrangiSettings, fov: Mask | None = None) -> Mask:
    """The mask of the pixels whose vesselness reaches the threshold; raises as `vesselness`."""
    return vesselness(image, settings.scale, settings.dark_vessels, fov) >= np.float32(settings.threshold)
