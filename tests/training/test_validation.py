"""Validation while training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowseg.config import Config
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import create_run
from flowseg.runs.prepare import prepare
from flowseg.training import loop
from flowseg.training.interrupt import StopRequest
from flowseg.training.validation import film_statistics


def test_validation_draws_one_plain_sample(tiny_config: Config, tmp_path: Path) -> None:
    """What is asked for afterwards does not make every validation dearer."""
    costly = replace(tiny_config, eval=replace(tiny_config.eval, ensemble=8, tta=True, threshold="tuned"))
    prepared = prepare(costly)
    run = create_run(tmp_path / "run", costly, None)
    training = loop.Training(run, prepared.datasets, Checkpoints(run.path), StopRequest())
    settings = training.validation.sampler.config.eval
    assert (settings.ensemble, settings.tta) == (1, False)
    assert training.config == costly


def test_a_modulation_that_ignores_the_image_has_no_spread_between_images() -> None:
    rng = np.random.default_rng(0)
    same = np.repeat(1 + rng.standard_normal((1, 16)), 5, axis=0)
    other = rng.standard_normal((5, 16))
    (row,) = film_statistics([(same, other)], [2], np.full((5, 4), 3.0))
    assert row["stage"] == 2
    assert row["gamma_between"] == pytest.approx(0)
    assert row["gamma_change"] == pytest.approx(np.abs(same - 1).mean())
    assert row["beta_between"] == pytest.approx(other.std(0).mean())
    assert (row["condition_norm"], row["condition_between"]) == (6.0, 0.0)


def test_no_modulation_is_zero_everywhere() -> None:
    (row,) = film_statistics([(np.ones((3, 8)), np.zeros((3, 8)))], [0], np.ones((3, 4)))
    assert row["gamma_change"] == row["beta_change"] == row["gamma_between"] == row["beta_between"] == 0
