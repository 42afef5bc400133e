"""One image cut into windows, and put together again from what a network finds in each of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped

from flowseg.data.dataset import mirrored

SIGMA = 1 / 8
"""Standard deviation of the weights' Gaussian, as a share of the window's side; the same as nnU-Net's."""

Map = Float32[np.ndarray, "h w"]
Samples = Float32[np.ndarray, "n h w"]
Noise = Shaped[np.ndarray, "n h w"]
"""What `Flow.noise` drew, for each sample."""


def corners(length: int, window: int, overlap: float) -> list[int]:
    """Returns the starts of windows along one axis: evenly spaced, overlapping at least as asked, covering it all."""
    if length <= window:
        return [0]
    stride = window * (1 - overlap)
    count = int(np.ceil((length - window) / stride)) + 1
    return [int(v) for v in np.round(np.linspace(0, length - window, count))]


def window_weights(window: int) -> Map:
    """Returns the weight of each pixel of a window where windows overlap: a Gaussian that is 1 in the middle.

    A network knows least about the pixels at its border, whose surroundings it does not see (Isensee et al., Nature
    Methods 2021). The weight is never zero: about 1e-7 at the corners.
    """
    x = (np.arange(window) - (window - 1) / 2) / (SIGMA * window)
    profile = np.exp(-0.5 * x**2)
    return np.outer(profile, profile).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Window:
    """A window of a canvas that is still to be sampled."""

    canvas: "Canvas"
    place: tuple[slice, slice]
    image: Map
    noise: Noise
    embedding: Float32[np.ndarray, " e"] | None

    def add(self, samples: Samples) -> None:
        """Adds what was found in the window to its canvas."""
        self.canvas.add(self.place, samples)


class Canvas:
    """The samples of one image, collected window by window and averaged with `window_weights` where they overlap.

    An image smaller than a window is mirrored at its border up to the window's size, and cut back at the end.

    Args:
        image: grey values in [-1, 1].
        embedding: the image's embedding, or None.
        crop: side of a window, pixels.
        overlap: share of a window's side that neighbouring windows share at least.
    """

    def __init__(self, image: Map, embedding: Float32[np.ndarray, " e"] | None, crop: int, overlap: float):
        self._size = image.shape
        self._image = mirrored(image, crop)
        self._embedding = embedding
        self._weights = window_weights(crop)
        tops, lefts = (corners(length, crop, overlap) for length in self._image.shape)
        self._places = [np.s_[top : top + crop, left : left + crop] for top in tops for left in lefts]
        self._missing = len(self._places)
        self._weight = np.zeros(self._image.shape, np.float32)
        self._total: Samples | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width that the noise must have."""
        return self._image.shape[0], self._image.shape[1]

    @property
    def complete(self) -> bool:
        """Whether all windows have been added."""
        return self._missing == 0

    def windows(self, noise: Noise) -> Iterator[Window]:
        """Yields all windows; `noise` has a map of the canvas's shape per sample, from which each window is cut."""
        self._total = np.zeros(noise.shape, np.float32)
        for place in self._places:
            yield Window(self, place, self._image[place], noise[:, *place], self._embedding)

    def add(self, place: tuple[slice, slice], samples: Samples) -> None:
        """Adds the samples of one window."""
        assert self._total is not None
        self._total[:, *place] += self._weights * samples
        self._weight[place] += self._weights
        self._missing -= 1

    def samples(self) -> Samples:
        """Returns the merged samples at the image's size."""
        assert self.complete and self._total is not None
        h, w = self._size
        return (self._total / self._weight)[:, :h, :w]
