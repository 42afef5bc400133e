"""What a checkpoint gives back, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from flowseg.config import Config
from flowseg.errors import UserError
from flowseg.models.network import init_params
from flowseg.runs.checkpoints import Checkpoints
from flowseg.training.state import TrainState, init_state


def state_of(config: Config) -> TrainState:
    """A state in which every number differs, in the middle of an accumulation."""
    state = init_state(config, init_params(config), 10)
    leaves, structure = jax.tree.flatten(state)
    rng = np.random.default_rng(0)
    made = [np.asarray(rng.integers(1, 100, leaf.shape)).astype(leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(structure, made)


@pytest.fixture
def accumulating(tiny_config: Config) -> Config:
    return replace(tiny_config, optim=replace(tiny_config.optim, accumulate=2))


def test_round_trip_in_the_middle_of_an_accumulation(accumulating: Config, tmp_path: Path) -> None:
    saved = state_of(accumulating)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", saved, accumulating, {"note": 1})
    checkpoints.close()
    like = init_state(accumulating, init_params(accumulating), 10)
    restored, record = Checkpoints(tmp_path).restore_state(int(saved.step), accumulating, like)
    assert record == {"note": 1} and restored.gradient is not None
    jax.tree.map(np.testing.assert_array_equal, restored, saved)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda meta: meta.update(format=1), "saved by another version of flowseg"),
        (lambda meta: meta["layout"].update(surplus=[3]), "holds surplus, which this network does not have"),
        (lambda meta: meta.update(layout=dict(reversed(meta["layout"].items()))), "parameters in another order"),
    ],
)
def test_another_layout_is_refused(accumulating: Config, tmp_path: Path, change: object, told: str) -> None:
    assert callable(change)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", state_of(accumulating), accumulating, {})
    checkpoints.close()
    (file,) = (tmp_path / "checkpoints" / "best").rglob("meta/metadata")
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    with pytest.raises(UserError, match=told):
        Checkpoints(tmp_path).restore_best(accumulating)
