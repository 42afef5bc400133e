"""How much of FiLM's modulation depends on the image: a decomposition of its mean square for each stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Decomposed:
    """The squared distance from no modulation, averaged over channels: total = constant + between."""

    total: float
    """The mean square over images."""
    constant: float
    """The square of the mean over images: the part that is the same for every image."""
    between: float
    """The variance between images (divided by n): the part that depends on the image."""

    @property
    def share(self) -> float | None:
        """The image-dependent share of the total, from 0 to 1; None if there is no modulation at all."""
        return self.between / self.total if self.total else None


@dataclass(frozen=True)
class StageModulation:
    """The modulation of one decoder stage."""

    stage: int
    gamma: Decomposed
    """Of gamma - 1."""
    beta: Decomposed


def decompose(values: Float[np.ndarray, "n c"]) -> Decomposed:
    """Splits the mean square of the values of n images in c channels into its two parts.

    It is exact for these images. As an estimate for other images, the constant part is too large by about between / n.
    Raises a ValueError if there is no image or no channel, or a value is not finite.
    """
    data = np.asarray(values, np.float64)
    if data.ndim != 2 or data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"need finite values of shape (images, channels), got shape {data.shape}")
    # Relative to the first image, so that equal rows have a variance of exactly 0 in spite of rounding.
    offset = data - data[0]
    between = float(offset.var(axis=0).mean())
    constant = float(np.square(data[0] + offset.mean(axis=0)).mean())
    return Decomposed(total=constant + between, constant=constant, between=between)


def modulation(
    films: Sequence[tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "n c"]]], stages: Sequence[int]
) -> list[StageModulation]:
    """The decomposition of each stage, from the gamma and beta of n images (the width c differs between stages)."""
    return [
        StageModulation(stage, decompose(np.asarray(gamma, np.float64) - 1), decompose(beta))
        for stage, (gamma, beta) in zip(stages, films, strict=True)
    ]
