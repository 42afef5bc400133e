"""A batch gives one loss and one gradient, however it is divided among devices and parts, with every flow family."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from flowseg.config import Config, EvalConfig, FlowConfig, OptimConfig, TrainConfig
from flowseg.flow import make_flow
from flowseg.models.vector import Layout
from flowseg.training.drivers import by_jit
from flowseg.training.state import init_state
from flowseg.training.step import AXIS, make_step

BATCH = 4
RNG = np.random.default_rng(0)
GIVEN = {
    "image": RNG.standard_normal((BATCH, 8, 8, 1), np.float32),
    "target": np.sign(RNG.standard_normal((BATCH, 8, 8, 1), np.float32)),
    "embedding": RNG.standard_normal((BATCH, 3), np.float32),
}
PARAMS = {"state": np.ones(1, np.float32), "image": np.ones(1, np.float32), "embedding": np.ones(3, np.float32)}
FLOWS = {
    "gaussian": FlowConfig("gaussian"),
    "supervised": FlowConfig("supervised"),
    "binary": FlowConfig("binary", consistency=0.0),
    "with consistency": FlowConfig("binary", consistency=300.0, consistency_probability=1.0),
}


class Linear:
    """A network whose output depends on the state, the time, the image and the embedding of each example."""

    def apply(self, params: Any, x: Any, t: Any, image: Any, embedding: Any) -> Any:
        assert x.shape == image.shape and len(x) == len(t) == len(embedding)
        about = (embedding @ params["embedding"] + t)[:, None, None, None]
        return params["state"] * x + params["image"] * image + about


def config_of(flow: FlowConfig) -> Config:
    optim = OptimConfig(accumulate=1, clip_norm=1e3)
    return Config(flow=flow, train=TrainConfig(batch=BATCH), optim=optim, eval=EvalConfig(steps=1))


@cache
def program(flow: FlowConfig, devices: int, microbatch: int) -> Callable[..., Any]:
    """The step, compiled once for all keys."""
    layout = Layout(PARAMS)
    step = make_step(config_of(flow), make_flow(flow), Linear(), layout, 10, microbatch)  # type: ignore[arg-type]
    return by_jit(step, Mesh(np.asarray(jax.devices()[:devices]), (AXIS,)))[0]


def step_of(flow: FlowConfig, devices: int, microbatch: int, key: int = 0) -> tuple[float, np.ndarray]:
    """The loss, and the parameters after one step."""
    state = init_state(config_of(flow), PARAMS, 10)
    state, metrics = program(flow, devices, microbatch)(state, GIVEN, jax.random.key(key))
    # Adam hides the gradient's scale in the parameters, but its first moment does not.
    return float(metrics[0]), np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.opt)])


@pytest.mark.parametrize("name", FLOWS)
def test_the_division_changes_nothing(name: str) -> None:
    whole_loss, whole = step_of(FLOWS[name], 1, BATCH)
    for devices, microbatch in ((1, 1), (1, 2), (2, 2), (2, 1), (4, 1)):
        loss, moments = step_of(FLOWS[name], devices, microbatch)
        assert loss == pytest.approx(whole_loss, rel=1e-5)
        np.testing.assert_allclose(moments, whole, rtol=1e-4, atol=1e-7)


def test_the_consistency_term_is_drawn_once_for_the_whole_batch() -> None:
    """In about half of the steps it is there, in the others it is not, whatever the division."""
    sometimes = replace(FLOWS["with consistency"], consistency_probability=0.5)
    there = []
    for key in range(12):
        without, always, drawn, divided = (
            step_of(flow, devices, part, key)[0]
            for flow, devices, part in (
                (FLOWS["binary"], 1, BATCH),
                (FLOWS["with consistency"], 1, BATCH),
                (sometimes, 1, BATCH),
                (sometimes, 4, 1),
            )
        )
        assert always > without + 1e-3
        assert min(abs(drawn - without), abs(drawn - always)) < 1e-5
        assert divided == pytest.approx(drawn, rel=1e-5)
        there.append(abs(drawn - always) < 1e-5)
    assert 2 <= sum(there) <= 10
