"""The pictures of the FiLM analysis show what the report's numbers are of."""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from flowseg.evaluation.film_effect import Shown
from flowseg.evaluation.overlays import overlay
from flowseg.reports.film_pictures import draw


def test_the_gallery_shows_the_masks_that_are_scored() -> None:
    """Not what exceeds 0.5: the threshold may be tuned, and small components removed."""
    rng = np.random.default_rng(0)
    own, other = rng.random((2, 40, 50), np.float32)
    truth, own_mask, other_mask = rng.random((3, 40, 50)) < 0.3
    grey = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    effect = SimpleNamespace(maps={}, gallery=[Shown(0, own, other, own_mask, other_mask, truth)])
    pictures = draw(effect, [grey])  # type: ignore[arg-type]
    for name, mask in (("own", own_mask), ("other", other_mask)):
        shown = np.asarray(Image.open(io.BytesIO(pictures[f"plots/gallery-1-{name}.png"])))
        np.testing.assert_array_equal(shown, overlay(grey, mask, truth))
