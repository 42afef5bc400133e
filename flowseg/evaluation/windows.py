"""Whole images through a network of fixed window size: sliding windows, sampled in batches.

Windows of several images share a batch, so that one compiled program serves images of any size. The noise that a
window starts from is cut from the noise of its image: overlapping windows start from the same values.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float32

from flowseg.config import Config
from flowseg.flow.samplers import integrate
from flowseg.models.network import Network, Params

# Stream of the seed tree (see training.step).
SAMPLE_STREAM = 3

Map = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Query:
    """An image to segment."""

    image: Map
    """Grey values in [-1, 1]."""
    content: str
    """Content hash: the noise is a function of it and the seed."""
    embedding: Float32[np.ndarray, " e"] | None


def corners(length: int, window: int, overlap: float) -> list[int]:
    """Starts of windows along one axis: evenly spaced, overlapping at least as asked, covering it all."""
    if length <= window:
        return [0]
    stride = window * (1 - overlap)
    count = int(np.ceil((length - window) / stride)) + 1
    return [int(v) for v in np.round(np.linspace(0, length - window, count))]


def noise_of(content: str, seed: int, shape: tuple[int, int]) -> Map:
    """The standard normal start of an image's sample, the same wherever it is drawn."""
    rng = np.random.default_rng([seed, SAMPLE_STREAM, int(content[:16], 16)])
    return rng.standard_normal(shape, np.float32)


class WindowSampler:
    """Samples whole images with a config's network and sampler; compiled once."""

    def __init__(self, config: Config, devices: Sequence[jax.Device] | None = None):
        self.config = config
        self.has_film = bool(config.model.film.stages)
        self.traces = 0
        self.evaluations: list[float] = []
        """Evaluations of the network (NFE) that each batch of windows took."""
        network, settings = Network(config), config.eval

        def sample(
            params: Params, x0: jax.Array, image: jax.Array, embedding: jax.Array | None
        ) -> tuple[jax.Array, jax.Array]:
            self.traces += 1

            def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
                return network.velocity(params, x, jax.numpy.full(x.shape[:1], t), image, embedding)

            x1, nfe = integrate(
                velocity, x0, sampler=settings.sampler, steps=settings.steps, tolerance=settings.tolerance
            )
            return x1, nfe

        self._sample = jax.jit(sample)
        self._sharding = None
        devices = list(devices or jax.devices()[:1])
        if len(devices) > 1 and settings.window_batch % len(devices) == 0:
            self._sharding = NamedSharding(jax.sharding.Mesh(np.asarray(devices), ("devices",)), P("devices"))

    def probabilities(
        self, params: Params, queries: Sequence[Query], on_image: Callable[[], None] | None = None
    ) -> Iterator[Map]:
        """Vessel probability of each image in [0, 1], in order.

        The sample at t = 1, a map in [-1, 1], is read as 2 p - 1; windows are averaged where they overlap. Images
        smaller than a window are mirrored at their border up to its size, and cut back.
        """
        crop, settings = self.config.data.crop, self.config.eval
        everywhere = NamedSharding(self._sharding.mesh, P()) if self._sharding is not None else None
        params = jax.device_put(params, everywhere)
        sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        left: dict[int, int] = {}
        queue: list[tuple[int, int, int, np.ndarray, np.ndarray]] = []
        finished = 0

        def flush() -> None:
            places = queue[: settings.window_batch]
            del queue[: settings.window_batch]
            # A short last batch is filled with its first window, so that nothing is compiled twice.
            filled = places + [places[0]] * (settings.window_batch - len(places))
            batch = [np.stack([item[k] for item in filled])[..., None] for k in (3, 4)]
            embedding = (
                np.stack([np.asarray(queries[item[0]].embedding) for item in filled]) if self.has_film else None
            )
            arrays = (*batch, embedding)
            if self._sharding is not None:
                arrays = jax.device_put(arrays, self._sharding)
            samples, nfe = self._sample(params, *arrays)
            self.evaluations.append(float(nfe))
            for (i, top, side, _, _), sample in zip(places, np.asarray(samples)[..., 0], strict=False):
                total, weight = sums[i]
                total[top : top + crop, side : side + crop] += np.clip((sample + 1) / 2, 0, 1)
                weight[top : top + crop, side : side + crop] += 1
                left[i] -= 1

        for i, query in enumerate(queries):
            h, w = query.image.shape
            padding = ((0, max(crop - h, 0)), (0, max(crop - w, 0)))
            image = np.pad(query.image, padding, mode="symmetric")
            noise = noise_of(query.content, self.config.seed, image.shape)
            sums[i] = (np.zeros(image.shape, np.float32), np.zeros(image.shape, np.float32))
            tops, sides = (corners(n, crop, settings.overlap) for n in image.shape)
            left[i] = len(tops) * len(sides)
            for top in tops:
                for side in sides:
                    cut = np.s_[top : top + crop, side : side + crop]
                    queue.append((i, top, side, noise[cut], image[cut]))
                    if len(queue) >= settings.window_batch:
                        flush()
            while queue and i == len(queries) - 1:
                flush()
            while finished <= i and left[finished] == 0:
                total, weight = sums.pop(finished)
                h, w = queries[finished].image.shape
                yield (total / weight)[:h, :w]
                finished += 1
                if on_image is not None:
                    on_image()
