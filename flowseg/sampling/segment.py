"""Segmenting images with trained parameters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32

from flowseg.evaluation.uncertainty import expected_error, predictive_entropy
from flowseg.models.network import Params
from flowseg.sampling.windows import Query, Samples, WindowSampler


@dataclass(frozen=True)
class Segmentation:
    """What was found in one image, at its stored size."""

    samples: Samples
    """Vessel probabilities in [0, 1], a map per sample (eval.ensemble)."""

    @cached_property
    def probability(self) -> Float32[np.ndarray, "h w"]:
        """The mean of the samples. A pixel is vessel where it exceeds the threshold: 0.5, or eval.threshold's."""
        return self.samples.mean(axis=0)

    @property
    def uncertainty(self) -> Float32[np.ndarray, "h w"] | None:
        """Each pixel's `predictive_entropy`, in bits; None for a single sample."""
        return predictive_entropy(self.probability) if len(self.samples) > 1 else None

    def expected_error(self, threshold: float) -> float | None:
        """The `flowseg.evaluation.uncertainty.expected_error` of the mask; None for a single sample."""
        return expected_error(self.samples, threshold) if len(self.samples) > 1 else None


def segment(
    sampler: WindowSampler,
    params: Params,
    queries: Sequence[Query],
    sizes: Sequence[tuple[int, int]],
    on_image: Callable[[], None] | None = None,
) -> Iterator[Segmentation]:
    """What is found in each image, at its stored size (height, width).

    Where the working image was resampled (data.max_side), the samples are brought back bilinearly.
    """
    for (h, w), samples in zip(sizes, sampler.samples(params, queries, on_image), strict=True):
        if samples.shape[1:] != (h, w):
            resized = [cv2.resize(sample, (w, h), interpolation=cv2.INTER_LINEAR) for sample in samples]
            samples = np.clip(np.stack(resized), 0, 1)  # interpolation rounds
        yield Segmentation(samples)
