"""Segmenting images with trained parameters."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float32
from scipy.special import entr

from flowseg.data.dataset import NetworkInput
from flowseg.models.network import Params
from flowseg.sampling.canvas import Samples
from flowseg.sampling.windows import WindowSampler


@dataclass(frozen=True)
class Segmentation:
    """The prediction for one image, at its stored size."""

    samples: Samples
    """Vessel probabilities in [0, 1], one map per sample (eval.ensemble)."""

    @cached_property
    def probability(self) -> Float32[np.ndarray, "h w"]:
        """The mean of the samples, of which a `MaskRule` makes the mask."""
        return self.samples.mean(axis=0)

    @property
    def uncertainty(self) -> Float32[np.ndarray, "h w"] | None:
        """Each pixel's `predictive_entropy`, in bits; None for a single sample."""
        return predictive_entropy(self.probability) if len(self.samples) > 1 else None

    def inside(self, fov: Bool[np.ndarray, "h w"] | None) -> "Segmentation":
        """Returns the same with probability 0 outside a field of view; itself if there is none."""
        return self if fov is None else Segmentation(np.where(fov, self.samples, np.float32(0)))


def predictive_entropy(probability: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Returns the entropy of each pixel's class under the mean probability, in bits: from 0 (sure) to 1 (p = 1/2).

    This is the total uncertainty of an ensemble (Lakshminarayanan et al. 2017; Kendall and Gal 2017): it grows with
    how unsure the samples are and with how much they differ.
    """
    p = probability.astype(np.float64)
    return ((entr(p) + entr(1 - p)) / np.log(2)).astype(np.float32)


def pooled(segmentations: Sequence[Iterator[Segmentation]]) -> Iterator[Segmentation]:
    """Yields the segmentation of each image by several networks together: the samples of all of them."""
    for found in zip(*segmentations, strict=True):
        yield found[0] if len(found) == 1 else Segmentation(np.concatenate([one.samples for one in found]))


def segment(sampler: WindowSampler, params: Params, images: Iterable[NetworkInput]) -> Iterator[Segmentation]:
    """Yields the segmentation of each image, in order, at its stored size.

    Where the working image was resampled (data.max_side), the samples are resized bilinearly.
    """
    sizes: deque[tuple[int, int]] = deque()

    def noting_sizes() -> Iterator[NetworkInput]:
        for image in images:
            sizes.append(image.size)
            yield image

    for samples in sampler.samples(params, noting_sizes()):
        h, w = sizes.popleft()
        if samples.shape[1:] != (h, w):
            resized = [cv2.resize(sample, (w, h), interpolation=cv2.INTER_LINEAR) for sample in samples]
            samples = np.clip(np.stack(resized), 0, 1)  # interpolation rounds
        yield Segmentation(samples)
