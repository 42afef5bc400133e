"""The surround of a field is found and filled, and what is dark inside the field stays."""

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_only_a_dark_surround_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from frangi_border import field, filled

    image = np.full((60, 60), 120, np.uint8)
    image[:, :12] = 5  # the surround
    image[20:40, 30:33] = 10  # a vessel, as dark
    fov = field(image, level=30, margin=4)
    assert not fov[:, :16].any() and fov[:, 17:].all()
    made = filled(image, fov)
    assert (made[:, :20] == 120).all() and (made[:, 20:] == image[:, 20:]).all()
    assert field(image[:, 12:], level=30, margin=4).all()  # without a surround nothing is left out
