"""flowseg in Python: `flowseg.load` opens a trained run, or several as one; its `segment` takes images as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32, Num

from flowseg.cache import cache_folder
from flowseg.config import Config, EvalConfig
from flowseg.data.arrays import check_fov, grey_values
from flowseg.data.dataset import network_input
from flowseg.data.image_files import channel_name, content_hash, scaled
from flowseg.data.inputs import Input, read_inputs
from flowseg.errors import UserError
from flowseg.evaluation.score import check_finite
from flowseg.progress import messages_on_stderr
from flowseg.runs.ensemble import common_rule, open_runs, open_together
from flowseg.runs.prepare import embedding_source_for
from flowseg.runs.trained import Trained
from flowseg.sampling.mask import MaskRule
from flowseg.sampling.segment import pooled, segment

_NAME, _REMEDY = "the image", "leave it out"  # in messages


@dataclass(frozen=True)
class Prediction:
    """What a model finds in one image; all maps have the image's height and width."""

    probability: Float32[np.ndarray, "h w"]
    """Probability that a pixel is vessel, in [0, 1]; with an ensemble or several runs, the mean over all samples."""
    mask: Bool[np.ndarray, "h w"]
    """Where the probability exceeds the threshold of the model's rule, without components that are too small."""
    uncertainty: Float32[np.ndarray, "h w"] | None
    """Entropy of the probability in bits, from 0 (certain) to 1 (even odds); None for a single sample."""


class Model:
    """A trained network, or several used as one, ready to segment; `flowseg.load` makes one.

    Raises:
        UserError: embeddings that cannot be read or come from another encoder, or a mask rule that cannot be tuned.
    """

    def __init__(self, members: Sequence[Trained]):
        self._members = members
        self.config: Config = members[0].config
        """The run's config, with the settings that were asked for; of several runs, that of the first by name."""
        self._source = embedding_source_for(members[0].run, self.config)
        self.rule: MaskRule = common_rule(members)
        """What makes the masks: its `threshold`, and its `min_component` in pixels."""

    @messages_on_stderr()
    def read(self, *paths: str | Path, frames: Sequence[int] | None = None) -> list[Input]:
        """Returns the images of files, DICOM series and folders, read as `flowseg predict` reads them for this model.

        Args:
            paths: image files, and folders of them, whose images are sorted by name.
            frames: which frames of each file, counted from 1; None: all.

        Raises:
            UserError: a file cannot be read or lacks a frame, a folder holds no images, or two images have one name.
        """
        return read_inputs([Path(path) for path in paths], frames, self.config.data.channel)

    def segment(
        self,
        image: Num[np.ndarray, "h w"] | Num[np.ndarray, "h w 3"] | Input,
        fov: Bool[np.ndarray, "h w"] | None = None,
    ) -> Prediction:
        """Returns the prediction for an image. The first call compiles the network.

        The same pixels always give the same prediction: that of `flowseg predict` for this image alone.

        Args:
            image: what `read` has read, or an array: grey values or RGB, of any size. uint8, uint16 or floating-point
                numbers of any range: each image is scaled by its own smallest and largest value. Of RGB the network
                sees what `data.channel` says, grey values are taken as they are. Whole numbers of another dtype count
                as uint8 if they fit, else as uint16.
            fov: the field of view, outside of which nothing is vessel; None: the whole image.

        Raises:
            UserError: an image of another form, one without contrast or with values that are not finite, one that the
                embedding store lacks, one read for a model of another channel, or a field of view that does not fit.
        """
        channel = self.config.data.channel
        if isinstance(image, Input):
            if image.channel != channel:
                raise UserError(
                    f"{image.path}: was read for a model that sees the channel {image.channel}, but this one sees "
                    f"{channel}; read it by the `read` of this model"
                )
            name, seen, luminance, content = image.name, image.image, image.luminance, image.content
            folder = str(image.path.parent)
        else:
            grey, values = grey_values(image, _NAME), grey_values(image, _NAME, channel)
            name, folder, content = _NAME, "DATA", content_hash(grey)
            luminance = scaled(grey, _NAME, _REMEDY)
            seen = luminance if channel == "luminance" else scaled(values, channel_name(_NAME, channel), _REMEDY)
        if fov is not None:
            check_fov(fov, seen.shape)
        return self._predict(name, seen, luminance, content, folder, fov)

    @messages_on_stderr()
    def with_settings(self, **settings: Any) -> "Model":
        """Returns a model of the same checkpoints with other sampling settings: fields of `flowseg.config.EvalConfig`.

        It compiles programs of its own. What is to be tuned is, as by `load`.

        Raises:
            UserError: a setting that does not exist or is out of its bounds.
        """
        asked = _asked(self.config.eval, settings, "; another embedding store is an argument of flowseg.load")
        return Model([member.with_settings(asked) for member in self._members])

    @messages_on_stderr()
    def _predict(
        self,
        name: str,
        values: Float32[np.ndarray, "h w"],
        luminance: Float32[np.ndarray, "h w"],
        content: str,
        data: str,
        fov: Bool[np.ndarray, "h w"] | None,
    ) -> Prediction:
        embedding = None
        if self._source is not None:
            embedding = self._source.of_images([name], [luminance], [content], data)[0]
        given = network_input(name, content, values, embedding, self.config.data.max_side)
        (whole,) = pooled([segment(member.sampler, member.params, [given]) for member in self._members])
        found = whole.inside(fov)
        check_finite(name, found.probability)
        return Prediction(found.probability, self.rule.mask(found.probability, fov), found.uncertainty)


@messages_on_stderr()
def load(path: str | Path, *, embeddings: str | Path | None = None, **settings: Any) -> Model:
    """Returns the model of a run's best checkpoint, of those of several runs of one config, or an exported model.

    Where masks are to be tuned (`threshold="tuned"` or `min_component="auto"`) and the run does not keep a rule for
    these settings yet, its validation images are read and segmented for it, which takes as long as `flowseg eval` on
    them, and the rule is written to RUN/threshold.json. Messages go to standard error.

    Compiled programs are kept where the `flowseg` command keeps them (FLOWSEG_CACHE, or ~/.cache/flowseg), unless JAX
    has been told of another folder.

    Args:
        path: the run's folder, as `flowseg train` makes it; a folder of runs, as `flowseg experiment` makes it, whose
            probabilities are averaged; an exported model's folder or its name on the hub (`hf://OWNER/NAME`); or
            `phantoms`, a small model that comes with flowseg.
        embeddings: a store that holds the images' embeddings; None: the run's own, or image-stats.
        settings: fields of `flowseg.config.EvalConfig`, for example `steps=4`, `ensemble=8` or `threshold="tuned"`;
            those that are not given are the run's own.

    Raises:
        UserError: no run there, one without a checkpoint or with a damaged one, runs of different configs, or a
            setting that does not exist or is out of its bounds.
    """
    runs = open_runs(Path(path))
    asked = _asked(runs[0].config.eval, settings, ", embeddings")
    _keep_programs()
    return Model(open_together(runs, asked, None if embeddings is None else str(embeddings)))


def _asked(own: EvalConfig, settings: dict[str, Any], further: str) -> EvalConfig:
    """Returns a run's own settings with others in place; a UserError, which ends with `further`, if one is unknown."""
    known = [field.name for field in fields(EvalConfig)]
    if unknown := [name for name in settings if name not in known]:
        raise UserError(f"{unknown[0]}: no such setting; choose from {', '.join(known)}{further}")
    return replace(own, **settings)


def _keep_programs() -> None:
    """Makes JAX keep compiled programs where `flowseg.commands.startup.set_up_jax` has them kept."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
