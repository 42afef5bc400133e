"""Whole images through a network of fixed window size: sliding windows, sampled in batches.

Windows of several images share a batch, so that one compiled program serves images of any size. The noise that a
window starts from is cut from the noise of its image, so overlapping windows start from the same values.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Shaped

from flowseg.config import Config
from flowseg.data.dataset import NetworkInput
from flowseg.flow import make_flow
from flowseg.machine import check_memory
from flowseg.models import kernels
from flowseg.models.network import Network, Params
from flowseg.sampling.canvas import Canvas, Noise, Samples, Window
from flowseg.sampling.views import VIEWS, make_view, undo_view

# Stream of the seed tree (see training.step).
SAMPLE_STREAM = 3

Maps = Float[Array, "b h w 1"]


def check_sampling(config: Config, devices: Sequence[jax.Device]) -> None:
    """Raises a UserError if a batch of windows takes more memory than the machine or one of the devices has.

    Noise and result lie in the machine's memory, and with the network's maps on the devices that share the batch. A
    CPU's memory is the machine's.
    """
    settings, model = config.eval, config.model
    pixels = settings.window_batch * config.data.crop**2
    maps = 3 * 4 * model.dim / model.patch**2  # three maps of the finest level, of all that the network makes
    samples = 2 * 4 * settings.ensemble  # noise and result
    what = f"eval.window_batch = {settings.window_batch}, eval.ensemble = {settings.ensemble}"
    remedy = "sample fewer windows at once, or fewer times"
    if devices[0].platform == "cpu":
        check_memory(pixels * (maps + samples), what, remedy)
        return
    check_memory(pixels * samples, what, remedy)
    check_memory(pixels * (maps + samples) / _sharing(config, devices), what, remedy, devices[0])


def _sharing(config: Config, devices: Sequence[jax.Device]) -> int:
    """Returns how many devices share a batch of windows: all, or one where it is not divided evenly."""
    return len(devices) if config.eval.window_batch % len(devices) == 0 else 1


class WindowSampler:
    """Samples whole images with a config's network and flow; compiled once.

    The config's `eval.ensemble` is the number of samples of each image, each from noise of its own. With `eval.tta`
    every sample is the mean over the eight views of its windows, in which noise and image are turned together.

    Args:
        config: the network, the flow, and how to sample.
        devices: share each batch of windows; None: the first device alone.
        check: called before each batch; it may raise to stop.

    Raises:
        UserError: a batch of windows does not fit the memory of the machine or of a device.
    """

    def __init__(
        self, config: Config, devices: Sequence[jax.Device] | None = None, check: Callable[[], None] = lambda: None
    ):
        devices = list(devices or jax.local_devices()[:1])
        check_sampling(config, devices)
        self.config, self._check = config, check
        self.traces = 0
        """At most 1; more means that the program was recompiled."""
        self.evaluations: list[float] = []
        """Network evaluations (NFE) of each batch of windows."""
        self.flow = make_flow(config.flow)
        self.network = Network(config, kernels.choose(devices[0], config.precision), self.flow.estimate)
        self._sharding = None
        if _sharing(config, devices) > 1:
            self._sharding = NamedSharding(jax.sharding.Mesh(np.asarray(devices), ("devices",)), P("devices"))
        self.program = jax.jit(self._draw)
        """(params, noise (n, b, h, w, 1), image, embedding, count) to what `_draw` returns."""

    def samples(self, params: Params, images: Iterable[NetworkInput]) -> Iterator[Samples]:
        """Yields the samples of each image, in order: `eval.ensemble` maps of the vessel probability in [0, 1]."""
        settings = self.config.eval
        everywhere = NamedSharding(self._sharding.mesh, P()) if self._sharding is not None else None
        params = jax.device_put(params, everywhere)
        canvases: deque[Canvas] = deque()
        waiting: deque[Window] = deque()
        for image in images:
            canvases.append(Canvas(image.image, image.embedding, self.config.data.crop, settings.overlap))
            waiting.extend(canvases[-1].windows(self.noise(image.content, canvases[-1].shape)))
            while len(waiting) >= settings.window_batch:
                self._flush(params, waiting)
            while canvases and canvases[0].complete:
                yield canvases.popleft().samples()
        while waiting:
            self._flush(params, waiting)
        for canvas in canvases:
            yield canvas.samples()

    def noise(self, content: str, shape: tuple[int, int]) -> Noise:
        """Returns what each sample of an image starts from: a function of its content hash and the config's seed."""
        stream = [self.config.seed, SAMPLE_STREAM, int(content[:16], 16)]

        def draw(sample: int) -> Shaped[np.ndarray, "h w"]:
            return self.flow.noise(np.random.default_rng([*stream, sample] if sample else stream), shape)

        return np.stack([draw(sample) for sample in range(self.config.eval.ensemble)])

    def _flush(self, params: Params, waiting: deque[Window]) -> None:
        """Samples the next batch of windows and adds them to their canvases."""
        self._check()
        size = self.config.eval.window_batch
        batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
        # A short last batch is filled with its first window, so that nothing is compiled twice.
        filled = batch + [batch[0]] * (size - len(batch))
        noise = np.stack([window.noise for window in filled], axis=1)[..., None]
        image = np.stack([window.image for window in filled])[..., None]
        embedding = None
        if self.config.model.film.stages:
            embedding = np.stack([np.asarray(window.embedding) for window in filled])
        arrays = (noise, image, embedding)
        if self._sharding is not None:
            mesh = self._sharding.mesh
            arrays = jax.device_put(arrays, (NamedSharding(mesh, P(None, "devices")), *[self._sharding] * 2))
        found, nfe = self.program(params, *arrays, len(batch))
        self.evaluations += [float(v) for v in nfe if v]
        for window, samples in zip(batch, np.moveaxis(np.asarray(found)[..., 0], 1, 0), strict=False):
            window.add(samples)

    def _batch(
        self, params: Params, noise: Shaped[Array, "b h w 1"], image: Maps, embedding: Float[Array, "b e"] | None
    ) -> tuple[Maps, Float[Array, ""]]:
        """Returns vessel probabilities of one batch of windows, and their NFE."""
        params = self.network.rounded(params)

        def predict(x: Maps, t: Float[Array, " b"]) -> Maps:
            return self.network.apply(params, x, t, image, embedding)

        return self.flow.sample(predict, noise, self.config.eval)

    def _draw(
        self,
        params: Params,
        noise: Shaped[Array, "n b h w 1"],
        image: Maps,
        embedding: Float[Array, "b e"] | None,
        count: Int[Array, ""],
    ) -> tuple[Float[Array, "n b h w 1"], Float[Array, " k"]]:
        """Draws all samples and views of some windows.

        All (window, sample, view) are dealt out into batches of `eval.window_batch`; only the last one may have idle
        places.

        Args:
            count: how many of the b windows are wanted, at least 1; the others only fill up the shapes.

        Returns:
            The probabilities, and the NFE of each batch, 0 for batches that were not needed.
        """
        self.traces += 1
        n, b = noise.shape[:2]
        views = VIEWS if self.config.eval.tta else 1
        if n * views == 1:
            probability, nfe = self._batch(params, noise[0], image, embedding)
            return probability[None], nfe[None]

        def one(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            total, evaluations = carry
            item = k * b + jnp.arange(b)
            window, sample, view = item % count, item // count // views % n, item // count % views
            arrays = (make_view(noise[sample, window], view), make_view(image[window], view))
            if self._sharding is not None:
                arrays = jax.lax.with_sharding_constraint(arrays, self._sharding)
            probability, nfe = self._batch(params, *arrays, None if embedding is None else embedding[window])
            share = jnp.where(item < count * n * views, 1 / views, 0.0)[:, None, None, None]
            return total.at[sample, window].add(share * undo_view(probability, view)), evaluations.at[k].set(nfe)

        batches = (count * n * views + b - 1) // b
        start = (jnp.zeros(noise.shape), jnp.zeros(n * views))
        return jax.lax.fori_loop(0, batches, one, start)
