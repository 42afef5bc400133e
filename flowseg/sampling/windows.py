"""Whole images through a network of fixed window size: sliding windows, sampled in batches.

Windows of several images share a batch, so that one compiled program serves images of any size. The noise that a
window starts from is cut from the noise of its image: overlapping windows start from the same values.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Float32

from flowseg.config import Config
from flowseg.flow.ode import integrate
from flowseg.flow.paths import estimate_of
from flowseg.models.kernels import choose
from flowseg.models.network import Network, Params
from flowseg.sampling.views import VIEWS, make_view, undo_view

# Stream of the seed tree (see training.step).
SAMPLE_STREAM = 3

SIGMA = 1 / 8
"""Standard deviation of the weights' Gaussian, as a share of the window's side: nnU-Net's."""

Map = Float32[np.ndarray, "h w"]
Samples = Float32[np.ndarray, "n h w"]


@dataclass(frozen=True)
class Query:
    """An image to segment."""

    image: Map
    """Grey values in [-1, 1]."""
    content: str
    """Content hash: the noise is a function of it and the seed."""
    embedding: Float32[np.ndarray, " e"] | None


@dataclass(frozen=True)
class _Window:
    """A window that waits for its batch."""

    query: int
    place: tuple[slice, slice]
    noise: Samples
    image: Map


def corners(length: int, window: int, overlap: float) -> list[int]:
    """Starts of windows along one axis: evenly spaced, overlapping at least as asked, covering it all."""
    if length <= window:
        return [0]
    stride = window * (1 - overlap)
    count = int(np.ceil((length - window) / stride)) + 1
    return [int(v) for v in np.round(np.linspace(0, length - window, count))]


def window_weights(window: int) -> Map:
    """What each pixel of a window counts where windows overlap: a Gaussian around its middle, 1 there.

    A network knows least about the pixels at its border, whose surroundings it does not see (Isensee et al., Nature
    Methods 2021). Never zero: at the corners about 1e-7.
    """
    x = (np.arange(window) - (window - 1) / 2) / (SIGMA * window)
    profile = np.exp(-0.5 * x**2)
    return np.outer(profile, profile).astype(np.float32)


def noise_of(content: str, seed: int, shape: tuple[int, int], sample: int = 0) -> Map:
    """The standard normal start of an image's sample of that number, the same wherever it is drawn."""
    stream = [seed, SAMPLE_STREAM, int(content[:16], 16)]
    rng = np.random.default_rng([*stream, sample] if sample else stream)
    return rng.standard_normal(shape, np.float32)


class WindowSampler:
    """Samples whole images with a config's network and sampler; compiled once.

    The config's `eval.ensemble` is the number of samples of each image, each from noise of its own; with `eval.tta`
    every sample is the mean over the eight views of its windows, noise and image turned together.
    """

    def __init__(self, config: Config, devices: Sequence[jax.Device] | None = None):
        self.config = config
        self.has_film = bool(config.model.film.stages)
        self.traces = 0
        self.evaluations: list[float] = []
        """Evaluations of the network (NFE) that each batch of windows took."""
        self._network = Network(config, choose(jax.default_backend(), config.precision), estimate_of)
        self._sharding = None
        devices = list(devices or jax.devices()[:1])
        if len(devices) > 1 and config.eval.window_batch % len(devices) == 0:
            self._sharding = NamedSharding(jax.sharding.Mesh(np.asarray(devices), ("devices",)), P("devices"))
        self._sample = jax.jit(self._draw)

    def _batch(
        self, params: Params, x0: jax.Array, image: jax.Array, embedding: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Vessel probabilities of one batch of windows, (b, h, w, 1) as `x0` and `image`, and their NFE."""
        settings = self.config.eval

        def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
            return self._network.apply(params, x, jnp.full(x.shape[:1], t), image, embedding)

        x1, nfe = integrate(velocity, x0, sampler=settings.sampler, steps=settings.steps, tolerance=settings.tolerance)
        return jnp.clip((x1 + 1) / 2, 0, 1), nfe

    def _draw(
        self, params: Params, x0: jax.Array, image: jax.Array, embedding: jax.Array | None, count: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """All samples and views of some windows.

        What is to be sampled, (window, sample, view), is dealt out into batches of `eval.window_batch`; only the last
        one may have idle places.

        Args:
            x0: (n, b, h, w, 1) noise of every sample.
            image: (b, h, w, 1).
            embedding: (b, e), or None.
            count: how many of the b windows are wanted, at least 1; the others only fill up the shapes.

        Returns:
            (n, b, h, w, 1) probabilities, and the NFE of each batch, 0 for batches that were not needed.
        """
        self.traces += 1
        n, b = x0.shape[:2]
        views = VIEWS if self.config.eval.tta else 1
        if n * views == 1:
            probability, nfe = self._batch(params, x0[0], image, embedding)
            return probability[None], nfe[None]

        def one(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            total, evaluations = carry
            item = k * b + jnp.arange(b)
            window, sample, view = item % count, item // count // views % n, item // count % views
            arrays = (make_view(x0[sample, window], view), make_view(image[window], view))
            if self._sharding is not None:
                arrays = jax.lax.with_sharding_constraint(arrays, self._sharding)
            probability, nfe = self._batch(params, *arrays, None if embedding is None else embedding[window])
            share = jnp.where(item < count * n * views, 1 / views, 0.0)[:, None, None, None]
            return total.at[sample, window].add(share * undo_view(probability, view)), evaluations.at[k].set(nfe)

        batches = (count * n * views + b - 1) // b
        start = (jnp.zeros_like(x0), jnp.zeros(n * views))
        return jax.lax.fori_loop(0, batches, one, start)

    def samples(
        self, params: Params, queries: Sequence[Query], on_image: Callable[[], None] | None = None
    ) -> Iterator[Samples]:
        """Samples of each image, in order: `eval.ensemble` maps of the vessel probability in [0, 1].

        A sample at t = 1, a map in [-1, 1], is read as 2 p - 1; where windows overlap they are averaged with
        `window_weights`. Images smaller than a window are mirrored at their border up to its size, and cut back.
        """
        crop, settings = self.config.data.crop, self.config.eval
        weights = window_weights(crop)
        everywhere = NamedSharding(self._sharding.mesh, P()) if self._sharding is not None else None
        params = jax.device_put(params, everywhere)
        sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        left: dict[int, int] = {}
        queue: list[_Window] = []
        finished = 0

        def flush() -> None:
            wanted = queue[: settings.window_batch]
            del queue[: settings.window_batch]
            # A short last batch is filled with its first window, so that nothing is compiled twice.
            filled = wanted + [wanted[0]] * (settings.window_batch - len(wanted))
            embedding = np.stack([np.asarray(queries[w.query].embedding) for w in filled]) if self.has_film else None
            arrays = (
                np.stack([w.noise for w in filled], axis=1)[..., None],
                np.stack([w.image for w in filled])[..., None],
                embedding,
            )
            if self._sharding is not None:
                mesh = self._sharding.mesh
                arrays = jax.device_put(arrays, (NamedSharding(mesh, P(None, "devices")), *[self._sharding] * 2))
            found, nfe = self._sample(params, *arrays, len(wanted))
            self.evaluations += [float(v) for v in nfe if v]
            for window, samples in zip(wanted, np.moveaxis(np.asarray(found)[..., 0], 1, 0), strict=False):
                total, weight = sums[window.query]
                total[:, *window.place] += weights * samples
                weight[window.place] += weights
                left[window.query] -= 1

        for i, query in enumerate(queries):
            h, w = query.image.shape
            padding = ((0, max(crop - h, 0)), (0, max(crop - w, 0)))
            image = np.pad(query.image, padding, mode="symmetric")
            noise = np.stack(
                [noise_of(query.content, self.config.seed, image.shape, k) for k in range(settings.ensemble)]
            )
            sums[i] = (np.zeros(noise.shape, np.float32), np.zeros(image.shape, np.float32))
            tops, sides = (corners(length, crop, settings.overlap) for length in image.shape)
            left[i] = len(tops) * len(sides)
            for top in tops:
                for side in sides:
                    place = np.s_[top : top + crop, side : side + crop]
                    queue.append(_Window(i, place, noise[:, *place], image[place]))
                    if len(queue) >= settings.window_batch:
                        flush()
            while queue and i == len(queries) - 1:
                flush()
            while finished <= i and left[finished] == 0:
                total, weight = sums.pop(finished)
                h, w = queries[finished].image.shape
                yield (total / weight)[:, :h, :w]
                finished += 1
                if on_image is not None:
                    on_image()
