"""Validation while training."""

from dataclasses import replace
from pathlib import Path

from flowseg.config import Config
from flowseg.runs.folder import create_run
from flowseg.training import loop
from flowseg.training.experiment import prepare


def test_validation_draws_one_plain_sample(tiny_config: Config, tmp_path: Path) -> None:
    """What is asked for afterwards does not make every validation dearer."""
    costly = replace(tiny_config, eval=replace(tiny_config.eval, ensemble=8, tta=True, threshold="tuned"))
    prepared = prepare(costly)
    training = loop._Training(create_run(tmp_path / "run", costly, None), prepared.datasets, prepared.embeddings, "")
    settings = training.sampler.config.eval
    assert (settings.ensemble, settings.tta) == (1, False)
    assert training.config == costly
