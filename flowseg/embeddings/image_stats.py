"""The encoder `image-stats`: a fixed descriptor of one image, computed without learning.

The image is resampled to 256×256 pixels by area averaging, which does not keep its aspect ratio (a smaller image is
interpolated bilinearly). Grey values are divided by 255, and 16 maps are computed:

==== ======================================================================= ========
map  value                                                                   noise s
==== ======================================================================= ========
0    grey value                                                              (3 x)
1-2  gradient magnitude at sigma 1 and 3 px, times sigma                     0.02
3-6  dark ridge max(l1 - abs(l2), 0) at sigma 1, 1.7, 3 and 5 px             0.01
7-10 bright ridge max(-l2 - abs(l1), 0) at the same sigmas                   0.01
11-12 standard deviation in a square of 5 and 17 px                          0.02
13-15 absolute difference of Gaussians, sigmas 1-2, 2-4 and 4-8 px           0.01
==== ======================================================================= ========

l1 >= l2 are the eigenvalues of the Hessian times sigma squared. Each map x is replaced by log(1 + x / s), which is
linear below the noise level s and grows slowly above it, so that noise and strong edges are on a similar scale. The
grey value is multiplied by 3 instead. With these maps called z, the 2048 entries are:

========= ===== ===========================================================================================
entries   count contents (map by map; cells row by row)
========= ===== ===========================================================================================
0-1023    1024  16 maps x 8x8 cells: cell mean of z minus the map's mean, times 3
1024-1279 256   16 maps x 4x4 cells: standard deviation of z in the cell minus that of the map, times 3
1280-1535 256   16 maps x 16 bins on [0, 3]: 4 sqrt(share); each pixel is split between its two nearest bins
1536-1663 128   16 maps x percentiles 1, 5, 25, 50, 75, 90, 95, 99 of z
1664-1727 64    16 maps x mean, standard deviation times 3, signed square roots of skewness and of kurtosis
1728-1983 256   local binary pattern codes of the image smoothed at sigma 1: 16 sqrt(share)
1984-2047 64    4 quadrants x 16 bins of ridge direction (sigma 1.7 px) by ridge strength: 4 sqrt(share)
========= ===== ===========================================================================================

The factors are fixed and give entries of order 1 on angiograms. Nothing is fitted to a data set.

Sources: Hessian ridges, Frangi et al. 1998 (doi:10.1007/BFb0056195); local binary patterns, Ojala et al.
2002 (doi:10.1109/TPAMI.2002.1017623); square roots of shares, the Hellinger map of Arandjelovic and
Zisserman 2012 (doi:10.1109/CVPR.2012.6248018).
"""

from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

WIDTH = 2048  # entries of the descriptor
VERSION = 1  # raise it with every change of the numbers, so that older stored embeddings are not reused

_SIZE = 256
_RIDGE_SIGMAS = (1.0, 1.7, 3.0, 5.0)
_DIRECTION_SIGMA_INDEX = 1
_MAPS = 16
_BINS = 16
_TOP = 3.0
_PERCENTILES = (1, 5, 25, 50, 75, 90, 95, 99)
_LBP_STEP = np.float32(2 / 255)  # a neighbour counts as brighter above this difference, so flat areas have code 0
_LBP_CODES = 256
_QUADRANTS = 4
_LAYOUT = (_MAPS * 64, _MAPS * 16, _MAPS * _BINS, _MAPS * len(_PERCENTILES), _MAPS * 4, _LBP_CODES, _QUADRANTS * _BINS)
assert sum(_LAYOUT) == WIDTH

_Map = Float32[np.ndarray, "256 256"]


def _blur(grey: _Map, sigma: float) -> _Map:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def _derivative(smooth: _Map, dx: int, dy: int) -> _Map:
    """Returns a derivative per pixel, by a Sobel kernel divided by the sum of its weights."""
    scale = 0.125 if dx + dy == 1 else 0.25
    border = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=3, scale=scale, borderType=border))


def _gradient(grey: _Map, sigma: float) -> _Map:
    smooth = _blur(grey, sigma)
    return sigma * np.hypot(_derivative(smooth, 1, 0), _derivative(smooth, 0, 1))


def _ridges(grey: _Map, sigma: float) -> tuple[_Map, _Map, _Map]:
    """Returns dark and bright ridge strength, and the angle of the Hessian's first axis in [-pi / 2, pi / 2]."""
    smooth = _blur(grey, sigma)
    xx, yy, xy = (sigma**2 * _derivative(smooth, dx, dy) for dx, dy in ((2, 0), (0, 2), (1, 1)))
    half_difference = (xx - yy) / 2
    centre, radius = (xx + yy) / 2, np.hypot(half_difference, xy)
    large, small = centre + radius, centre - radius
    dark = np.maximum(large - np.abs(small), 0)
    bright = np.maximum(-small - np.abs(large), 0)
    return dark, bright, np.arctan2(xy, half_difference) / 2


def _deviation(grey: _Map, width: int) -> _Map:
    centred = grey - grey.mean()  # so that the difference of squares below loses no digits
    mean = cv2.blur(centred, (width, width))
    square = cv2.blur(centred * centred, (width, width))
    return np.sqrt(np.maximum(square - mean * mean, 0))


def _maps(grey: _Map) -> tuple[Float32[np.ndarray, "16 256 256"], _Map, _Map]:
    """Returns the 16 maps z, and the direction and strength of the ridges at one scale."""
    ridges = [_ridges(grey, sigma) for sigma in _RIDGE_SIGMAS]
    blurred = [_blur(grey, sigma) for sigma in (1.0, 2.0, 4.0, 8.0)]
    values = [(_gradient(grey, sigma), 0.02) for sigma in (1.0, 3.0)]
    values += [(dark, 0.01) for dark, _, _ in ridges]
    values += [(bright, 0.01) for _, bright, _ in ridges]
    values += [(_deviation(grey, width), 0.02) for width in (5, 17)]
    values += [(np.abs(fine - coarse), 0.01) for fine, coarse in pairwise(blurred)]
    stack = np.stack([_TOP * grey, *(np.log(1 + value / np.float32(level)) for value, level in values)])
    dark, bright, direction = ridges[_DIRECTION_SIGMA_INDEX]
    return stack.astype(np.float32), direction, dark + bright


def _cells(maps: Float32[np.ndarray, "C 256 256"], count: int) -> Float32[np.ndarray, "C N P"]:
    """Returns the pixels P of each of the count x count cells N."""
    size = _SIZE // count
    split = maps.reshape(len(maps), count, size, count, size).swapaxes(2, 3)
    return split.reshape(len(maps), count * count, size * size)


def _distribution(values: Float32[np.ndarray, " N"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the shares of the bins, the percentiles and the moments of one map."""
    ordered = np.sort(np.clip(values, 0, _TOP)).astype(np.float64)
    # A pixel between two bin centres is shared between both bins in proportion, so that noise does not move whole
    # pixels from bin to bin. With sorted values this needs only the count and the sum of each interval.
    edges = np.linspace(0, _TOP, _BINS)
    cuts = np.searchsorted(ordered, edges[1:-1])
    starts = np.concatenate([[0], cuts])
    counts = np.diff(np.concatenate([starts, [ordered.size]]))
    running = np.concatenate([[0.0], np.cumsum(ordered)])
    sums = np.diff(running[np.concatenate([starts, [ordered.size]])])
    upper = (sums - counts * edges[:-1]) / (edges[1] - edges[0])
    shares = np.zeros(_BINS)
    shares[1:] += upper
    shares[:-1] += counts - upper
    percentiles = ordered[[round(p / 100 * (ordered.size - 1)) for p in _PERCENTILES]]

    mean = values.mean(dtype=np.float64)
    centred = values - np.float32(mean)
    square = centred * centred
    variance = square.mean(dtype=np.float64)
    safe = variance + 1e-4  # below a deviation of 0.01 the shape is mostly rounding and is pulled to 0
    skewness = (square * centred).mean(dtype=np.float64) / safe**1.5
    kurtosis = (square * square).mean(dtype=np.float64) / safe**2
    moments = [mean, 3 * np.sqrt(variance), np.sign(skewness) * np.sqrt(abs(skewness)), np.sqrt(kurtosis)]
    return np.maximum(shares, 0) / ordered.size, percentiles, np.array(moments)


def _binary_patterns(grey: _Map) -> np.ndarray:
    """Returns the shares of the 256 codes of the 8 neighbours at distance 2, in the slightly smoothed image."""
    smooth = _blur(grey, 1.0)
    centre = smooth[2:-2, 2:-2] + _LBP_STEP
    codes = np.zeros(centre.shape, dtype=np.uint8)
    offsets = ((0, 0), (0, 2), (0, 4), (2, 4), (4, 4), (4, 2), (4, 0), (2, 0))
    for bit, (row, column) in enumerate(offsets):
        neighbour = smooth[row : row + _SIZE - 4, column : column + _SIZE - 4]
        codes |= (neighbour > centre).astype(np.uint8) << np.uint8(bit)
    return np.bincount(codes.ravel(), minlength=_LBP_CODES) / codes.size


def _directions(direction: _Map, strength: _Map) -> np.ndarray:
    """Returns the shares of 16 circular direction bins in each quadrant; pixels are shared between bins as above."""
    position = ((direction / np.float32(np.pi) + np.float32(0.5)) * _BINS).astype(np.float64)
    lower = np.floor(position)
    upper_share = position - lower
    first = lower.astype(np.int64) % _BINS
    parts = (first, (first + 1) % _BINS), (strength * (1 - upper_share), strength * upper_share)
    half = _SIZE // 2
    shares = np.zeros((_QUADRANTS, _BINS))
    for quadrant in range(_QUADRANTS):
        top, left = half * (quadrant // 2), half * (quadrant % 2)
        window = (slice(top, top + half), slice(left, left + half))
        for bins, weights in zip(*parts, strict=True):
            shares[quadrant] += np.bincount(bins[window].ravel(), weights[window].ravel(), minlength=_BINS)
    # The lower bound, a mean strength of 0.001, keeps noise from setting the directions of an empty quadrant.
    total = np.maximum(shares.sum(axis=1, keepdims=True), 1e-3 * half * half)
    return shares / total


def describe(image: UInt8[np.ndarray, "H W"]) -> Float32[np.ndarray, "2048"]:
    """Returns the descriptor of one image; its 2048 entries are listed in the module's docstring.

    The image may have any size. It takes about 45 ms on one core.

    Raises:
        ValueError: the image is not uint8, has not two dimensions, or is empty.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"image must be uint8 of two dimensions, not empty, got {image.dtype} {image.shape}")
    grey = cv2.resize(image.astype(np.float32) / 255, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    maps, direction, strength = _maps(grey)
    histograms, percentiles, moments = zip(*(_distribution(z.ravel()) for z in maps), strict=True)
    parts = [
        3 * (_cells(maps, 8).mean(axis=2) - maps.mean(axis=(1, 2))[:, None]),
        3 * (_cells(maps, 4).std(axis=2) - maps.std(axis=(1, 2))[:, None]),
        np.sqrt(_BINS * np.stack(histograms)),
        np.stack(percentiles),
        np.stack(moments),
        np.sqrt(_LBP_CODES * _binary_patterns(grey)),
        np.sqrt(_BINS * _directions(direction, strength)),
    ]
    assert tuple(part.size for part in parts) == _LAYOUT
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)
