"""Validation in training: whole images through the sampler, scored, with FiLM's statistics and a picture."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from flowseg import hosts
from flowseg.config import Config
from flowseg.data.dataset import Dataset
from flowseg.data.image_files import as_uint8
from flowseg.evaluation.overlays import overlay, save_png, strip
from flowseg.evaluation.score import Scored, mean_metrics, own_images, score_split
from flowseg.models.network import Params
from flowseg.progress import task
from flowseg.runs.log import NoLog
from flowseg.sampling.windows import WindowSampler

_GRID_IMAGES = 4


class Validation:
    """Scores parameters on the validation split and records what it finds.

    It draws one plain sample per image and takes the plain mask of it, whatever `eval` says: validation chooses a
    checkpoint, and is paid for many times. What is tuned is tuned for the checkpoint that it has chosen.
    `check` is called before each batch of windows; it may raise to stop, and nothing is then recorded. Several
    processes (flowseg.hosts) share the images, and the first one records.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        devices: Sequence[jax.Device],
        log: NoLog,
        samples: Path,
        check: Callable[[], None],
    ):
        plain = replace(config, eval=replace(config.eval, ensemble=1, tta=False))
        self.sampler = WindowSampler(plain, devices, check)
        self._config = config
        self._dataset = dataset
        self._own = own_images(dataset)
        self._log = log
        self._samples = samples

    def __call__(self, params: Params, step: int, epoch: float) -> float:
        """Scores the parameters (a tree of numpy arrays), and returns the mean Dice.

        It writes the scores, FiLM's statistics and a picture.
        """
        scored, scores = self._scored(params, step)
        if not hosts.is_first():
            return scores["dice"]
        self._log.write("val", step, epoch, {**scores, "images": len(self._dataset)})
        stages = self._config.model.film.stages
        if stages:
            vectors = jax.numpy.asarray(self._dataset.embeddings())
            network = self.sampler.network
            for row in film_statistics(network.film(params, vectors), stages, network.condition(params, vectors)):
                self._log.write("film", step, epoch, row)
        picture = draw_grid(self._dataset, scored[:_GRID_IMAGES])
        self._samples.mkdir(exist_ok=True)
        save_png(self._samples / f"step-{step:06d}.png", picture)
        self._log.image("val/samples", step, picture)
        return scores["dice"]

    def dice(self, params: Params, step: int) -> float:
        """Returns the mean Dice of the parameters and records nothing."""
        return self._scored(params, step)[1]["dice"]

    def _scored(self, params: Params, step: int) -> tuple[list[Scored], dict[str, float]]:
        """Returns what this process has scored, and the means over all images."""
        scored = []
        with task(f"validation at step {step}", len(self._own)) as advance:
            for item in score_split(self.sampler, params, self._own):
                scored.append(item)
                advance()
        rows = hosts.gather([item.metrics for item in scored])
        return scored, mean_metrics([row for of_one in rows for row in of_one])


def draw_grid(dataset: Dataset, scored: Sequence[Scored]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture with a row per image: image, label, probability, overlay."""
    rows = []
    for item in scored:
        image = as_uint8(dataset[item.index].image)
        probability, prediction, truth = item.probability, item.prediction, item.truth
        if image.shape != truth.shape:
            size = (image.shape[1], image.shape[0])
            probability = cv2.resize(probability, size, interpolation=cv2.INTER_AREA)
            prediction, truth = (
                cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
                for mask in (prediction, truth)
            )
        drawn = overlay(image, prediction, truth)
        rows.append(strip([image, truth.astype(np.uint8) * 255, np.round(probability * 255).astype(np.uint8), drawn]))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])


def film_statistics(
    films: Sequence[tuple[Float[Array, "n c"], Float[Array, "n c"]]],
    stages: Sequence[int],
    condition: Float[Array, "n d"],
) -> list[dict[str, float]]:
    """Returns for each stage how far its modulation is from none, and how much of it depends on the image.

    Means over images and channels of |gamma - 1| and |beta|; `*_between` is the standard deviation over images,
    averaged over channels: 0 where every image gets the same modulation. `condition_norm` is the mean length of the
    condition vectors, `condition_between` their standard deviation over images, averaged over entries.
    """
    vectors = np.asarray(condition, np.float64)
    about = {
        "condition_norm": float(np.linalg.norm(vectors, axis=1).mean()),
        "condition_between": float(vectors.std(0).mean()),
    }
    rows = []
    for stage, (gamma, beta) in zip(stages, films, strict=True):
        g, b = np.asarray(gamma, np.float64), np.asarray(beta, np.float64)
        rows.append(
            {
                "stage": stage,
                "gamma_mean": float(g.mean()),
                "gamma_change": float(np.abs(g - 1).mean()),
                "gamma_between": float(g.std(0).mean()),
                "beta_mean": float(b.mean()),
                "beta_change": float(np.abs(b).mean()),
                "beta_between": float(b.std(0).mean()),
                **about,
            }
        )
    return rows
