"""How much of FiLM's modulation depends on the image: a decomposition of variance, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Decomposed:
    """Squared distance from no modulation, averaged over channels: total = constant + between."""

    total: float
    """Mean over images of the square."""
    constant: float
    """Square of the mean over images: what every image gets."""
    between: float
    """Variance between images (divided by n): what depends on the image."""

    @property
    def share(self) -> float | None:
        """The image-dependent share of the total, 0 to 1; None where there is no modulation at all."""
        return self.between / self.total if self.total else None


@dataclass(frozen=True)
class StageModulation:
    """One decoder stage."""

    stage: int
    gamma: Decomposed
    """Of gamma - 1."""
    beta: Decomposed


def decompose(values: Float[np.ndarray, "n c"]) -> Decomposed:
    """The second moment about zero of n images' values in c channels, split into its two parts.

    Exact for these images. As an estimate for others, the constant part is too large by about between / n.

    Raises:
        ValueError: no image, no channel, or a value that is not finite.
    """
    data = np.asarray(values, np.float64)
    if data.ndim != 2 or data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"need finite values of shape (images, channels), got shape {data.shape}")
    # About the first image: equal rows give a variance of exactly zero, whatever their value's rounding.
    offset = data - data[0]
    between = float(offset.var(axis=0).mean())
    constant = float(np.square(data[0] + offset.mean(axis=0)).mean())
    return Decomposed(total=constant + between, constant=constant, between=between)


def modulation(
    films: Sequence[tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "n c"]]], stages: Sequence[int]
) -> list[StageModulation]:
    """Every stage's decomposition, from its gamma and beta of n images (each stage has its own width c)."""
    return [
        StageModulation(stage, decompose(np.asarray(gamma, np.float64) - 1), decompose(beta))
        for stage, (gamma, beta) in zip(stages, films, strict=True)
    ]
