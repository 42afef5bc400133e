"""What the table of samplers says of an image is what `flowseg eval` says of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowseg.evaluation.metrics import image_metrics
from flowseg.evaluation.score import Scored

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def program() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import sampler_quality

        yield sampler_quality


@pytest.fixture
def scored() -> Scored:
    """An image with a field of view, outside of which there is vessel in the label."""
    rng = np.random.default_rng(0)
    fov = np.zeros((24, 30), bool)
    fov[4:20, 5:25] = True
    truth = rng.random(fov.shape) < 0.3
    probability = (np.clip(0.4 * truth + 0.7 * rng.random(fov.shape), 0, 1) * fov).astype(np.float32)
    return Scored("test/1", 0, probability, truth, fov, {}, probability > 0.5, None)


def test_scores_are_inside_the_field_of_view(program: Any, scored: Scored) -> None:
    """What the label has outside changes nothing."""
    assert scored.fov is not None
    found = program.describe([scored], True)
    expected = image_metrics(scored.probability, scored.truth, fov=scored.fov)
    assert {name: found[name] for name in ("dice", "cldice", "ece", "brier")} == pytest.approx(
        {name: expected[name] for name in ("dice", "cldice", "ece", "brier")}
    )
    assert found == program.describe([replace(scored, truth=scored.truth & scored.fov)], True)


def test_maps_that_are_no_probabilities_have_no_calibration(program: Any, scored: Scored, tmp_path: Path) -> None:
    whole, without = (program.describe([scored], probabilities) for probabilities in (True, False))
    assert whole.keys() - without.keys() == {"ece", "brier", "expected_error"}
    program.plot([{**without, "sampler": "euler", "ensemble": 1, "nfe": 1.0}], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()
