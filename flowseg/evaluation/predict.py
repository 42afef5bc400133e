"""Segmenting images with trained parameters."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float32

from flowseg.evaluation.windows import Query, WindowSampler
from flowseg.models.network import Params


def segment(
    sampler: WindowSampler,
    params: Params,
    queries: Sequence[Query],
    sizes: Sequence[tuple[int, int]],
    on_image: Callable[[], None] | None = None,
) -> Iterator[Float32[np.ndarray, "h w"]]:
    """Vessel probabilities in [0, 1], each at its image's stored size (height, width).

    Where the working image was resampled (data.max_side), the probabilities are brought back bilinearly. A pixel is
    vessel where the probability exceeds 0.5, that is where the sample at t = 1 exceeds 0.
    """
    for (h, w), probability in zip(sizes, sampler.probabilities(params, queries, on_image), strict=True):
        if probability.shape != (h, w):
            probability = cv2.resize(probability, (w, h), interpolation=cv2.INTER_LINEAR)
        yield probability
