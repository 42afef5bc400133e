"""What the page asks for, and the pictures that answer it."""

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flowseg.api import Model, Prediction
from flowseg.bounds import Bound, Count, Section
from flowseg.data.image_files import as_uint8
from flowseg.data.inputs import Input
from flowseg.evaluation.overlays import grey, overlay
from flowseg.evaluation.uncertainty import expected_error

MAX_STEPS = 100
MAX_ENSEMBLE = 32
_KEPT_MODELS = 4


@dataclass(frozen=True)
class Choice(Section):
    """How to segment; the bounds keep one request from holding up the page for others."""

    steps: Annotated[int, Bound(lambda n: 1 <= n <= MAX_STEPS, f"must lie between 1 and {MAX_STEPS}")]
    ensemble: Annotated[int, Bound(lambda n: 1 <= n <= MAX_ENSEMBLE, f"must lie between 1 and {MAX_ENSEMBLE}")]
    threshold: Annotated[float, Bound(lambda x: 0 < x < 1, "must lie between 0 and 1")]


@dataclass(frozen=True)
class Asked(Section):
    """A request of the page."""

    image: str
    """An upload's number."""
    frame: Count
    choice: Choice


class Segmenter:
    """Segments one image at a time; the last probability is kept, so that another threshold costs no sampling.

    Raises:
        UserError: the model's own settings are out of the page's bounds.
    """

    def __init__(self, model: Model):
        settings = model.config.eval
        self.start = Choice(settings.steps, settings.ensemble, model.rule.threshold)
        """The model's own settings."""
        self.config = model.config
        self._rule = model.rule
        self._models = {(settings.steps, settings.ensemble): model}
        self._last: tuple[tuple[Path, int, int, int], Input, Prediction] | None = None
        self._lock = Lock()

    def answer(self, path: Path, frame: int, choice: Choice) -> dict[str, Any]:
        """Returns what the page shows of a frame: numbers, and PNG files of the frame's size as data URLs.

        Raises:
            UserError: a frame that cannot be read or segmented.
        """
        with self._lock:
            item, found = self._predict(path, frame, choice)
        mask = replace(self._rule, threshold=choice.threshold).mask(found.probability)
        image = as_uint8(item.image)
        pictures = {
            "image": image,
            "overlay": overlay(image, mask),
            "mask": grey(mask),
            "probability": grey(found.probability),
        }
        if found.uncertainty is not None:
            pictures["uncertainty"] = grey(found.uncertainty)
        return {
            "name": item.name,
            "turned": item.orientation != 1,
            "vessel": float(mask.mean()),
            "expected_error": expected_error(found.probability, mask),
            "pictures": {kind: _data_url(picture) for kind, picture in pictures.items()},
        }

    def forget(self) -> None:
        """Drops the last probability."""
        self._last = None

    def _predict(self, path: Path, frame: int, choice: Choice) -> tuple[Input, Prediction]:
        key = (path, frame, choice.steps, choice.ensemble)
        if (last := self._last) is not None and last[0] == key:
            return last[1:]
        model = self._model(choice.steps, choice.ensemble)
        (item,) = model.read(path, frames=[frame])
        found = model.segment(item)
        self._last = (key, item, found)
        return item, found

    def _model(self, steps: int, ensemble: int) -> Model:
        """Returns the model with these settings; the few used last keep their compiled programs."""
        key = (steps, ensemble)
        if key not in self._models:
            # The page has a threshold of its own, and the parts that it removes are those of the first model.
            plain = {"threshold": "fixed", "min_component": 0}
            other = next(iter(self._models.values())).with_settings(steps=steps, ensemble=ensemble, **plain)
            self._models[key] = other
        self._models[key] = self._models.pop(key)
        if len(self._models) > _KEPT_MODELS:
            del self._models[next(iter(self._models))]
        return self._models[key]


def _data_url(picture: UInt8[np.ndarray, "..."]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
