"""The training step: the same numbers however it is spread, and nothing but what it should change.

What spreads a step over devices and what updates the state do not see what a network is made of, so a network of one
layer stands in for it. The real one learns on one device and on four in test_learning.py.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from flowseg.config import Config, FlowConfig
from flowseg.errors import UserError
from flowseg.flow import Draw, make_flow
from flowseg.models import kernels
from flowseg.models.network import init_params
from flowseg.training import drivers
from flowseg.training.drivers import Driver, chosen_devices, local_step, make_driver, with_precision
from flowseg.training.state import TrainState, init_state
from flowseg.training.step import AXIS, METRICS, Batch, loss_of

STEPS = 10
PARAMS = {
    "kernel": np.random.default_rng(0).standard_normal((3, 3, 2, 1), np.float32),
    "embedding": np.random.default_rng(1).standard_normal(2048, np.float32),
}


class OneLayer:
    """A convolution of the state and the image, plus the time and a projection of the embedding."""

    def __init__(self, *_: object):
        pass

    def apply(self, params: Any, x: jax.Array, t: jax.Array, image: jax.Array, embedding: jax.Array) -> jax.Array:
        both = jnp.concatenate([x, image], axis=-1)
        maps = kernels.BLOCKS.convolve(both, params["kernel"], 1)
        return maps + (jnp.tanh(embedding @ params["embedding"]) + t)[:, None, None, None]


@pytest.fixture(autouse=True)
def _one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "Network", OneLayer)
    monkeypatch.setattr(drivers, "abstract_params", lambda config: PARAMS)


def make_batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.standard_normal((4, 16, 16, 1), np.float32),
        "target": np.sign(rng.standard_normal((4, 16, 16, 1), np.float32)),
        "embedding": rng.standard_normal((4, 2048), np.float32),
    }


def named(metrics: jax.Array) -> dict[str, float]:
    """The metrics of a step by name."""
    return dict(zip(METRICS, np.asarray(metrics).tolist(), strict=True))


@cache
def driver_of(config: Config) -> Driver:
    return make_driver(config, STEPS)


def start(config: Config) -> tuple[Driver, TrainState]:
    driver = driver_of(config)
    return driver, driver.place_state(init_state(config, PARAMS, STEPS))


@cache
def three_steps(config: Config) -> tuple[Driver, TrainState, list[dict[str, float]]]:
    driver, state = start(config)
    history = []
    for i in range(3):
        state, metrics = driver(state, make_batch(i))
        history.append(named(metrics))
    return driver, state, history


def assert_same(a: TrainState, b: TrainState, rtol: float) -> None:
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * max(np.abs(y).max(), 1e-3), err_msg=str(path))


def test_pixels_outside_the_field_of_view_do_not_count() -> None:
    """A network that is wrong only where the batch's weight is 0 has the loss of one that is always right."""
    batch = make_batch(0)
    weight = (batch["image"] > 0).astype(np.float32)
    outputs = [40 * batch["target"], 40 * batch["target"] * (2 * weight - 1)]

    def loss(output: np.ndarray, batch: Batch) -> float:
        network: Any = SimpleNamespace(apply=lambda *_: output)
        draw = Draw(jax.random.key(0), np.arange(4), 4)
        return float(loss_of({}, make_flow(FlowConfig("supervised")), network, batch, draw))

    right, wrong_outside = (loss(output, {**batch, "weight": weight}) for output in outputs)
    assert right == wrong_outside < 1e-5 < 1 < loss(outputs[1], batch)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_four_devices_compute_what_one_does(tiny_config: Config, parallel: str) -> None:
    _, _, one = three_steps(tiny_config)
    _, _, four = three_steps(replace(tiny_config, devices=4, parallel=parallel))
    for a, b in zip(one, four, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        # Adam hides a wrong scale of the gradients; their norm shows it.
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


def test_a_batch_taken_in_parts_is_the_same_step(tiny_config: Config) -> None:
    # One example at a time, as on every CPU, and all four at once.
    found = []
    for config in (tiny_config, replace(tiny_config, train=replace(tiny_config.train, microbatch=4))):
        driver, state = start(config)
        _, metrics = driver(state, make_batch(0))
        found.append((named(metrics)["loss"], named(metrics)["grad_norm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_microbatch_that_does_not_divide_the_batch_is_refused(tiny_config: Config) -> None:
    config = replace(tiny_config, train=replace(tiny_config.train, microbatch=3))
    with pytest.raises(UserError, match=r"train\.microbatch = 3: does not divide the 4 crops"):
        chosen_devices(config)


@pytest.mark.parametrize(
    ("platform", "capability", "precision"),
    [("cpu", None, "float32"), ("gpu", "7.5", "float32"), ("gpu", "8.0", "bf16"), ("gpu", "10.0", "bf16")],
)
def test_precision_follows_the_hardware_where_it_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, tiny_config: Config, platform: str, capability: str | None, precision: str
) -> None:
    device = SimpleNamespace(platform=platform, compute_capability=capability)
    monkeypatch.setattr("flowseg.training.drivers.jax.devices", lambda: [device])
    assert with_precision(replace(tiny_config, precision="auto")).precision == precision
    for asked in ("float32", "bf16"):
        assert with_precision(replace(tiny_config, precision=asked)).precision == asked


def test_pmap_and_jit_end_in_the_same_state(tiny_config: Config) -> None:
    _, by_pmap, _ = three_steps(replace(tiny_config, devices=4, parallel="pmap"))
    _, by_jit, _ = three_steps(replace(tiny_config, devices=4, parallel="jit"))
    assert_same(by_pmap, by_jit, rtol=1e-5)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_the_state_is_donated_and_the_step_traced_once(tiny_config: Config, parallel: str) -> None:
    driver, state, _ = three_steps(replace(tiny_config, devices=4, parallel=parallel))
    state = jax.tree.map(lambda leaf: leaf.copy(), state)
    state = driver.place_state(state)
    leaves = jax.tree.leaves((state.params, state.ema, state.opt))
    driver(state, make_batch(3))
    assert all(leaf.is_deleted() for leaf in leaves)
    assert driver.traces == 1


def test_a_kept_trace_serves_another_seed(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSEG_TRACES", str(tmp_path))
    found = []
    for seed in (0, 0, 1):
        driver = make_driver(replace(tiny_config, seed=seed), STEPS)
        state = driver.place_state(init_state(tiny_config, PARAMS, STEPS))
        state, metrics = driver(state, make_batch(0))
        found.append((np.asarray(state.params).tobytes(), named(metrics)["loss"], driver.traces))
    # Traced for the first only; what is read back computes the same bits, and the seed still decides the noise.
    assert [traces for *_, traces in found] == [1, 0, 0]
    assert found[0][:2] == found[1][:2] and found[2][1] != found[0][1]
    _, _, usual = three_steps(tiny_config)
    assert found[0][1] == usual[0]["loss"]


class Untraced:
    """Stands in for a kept trace: the function itself."""

    lowered = 0

    def __init__(self, function: jax.stages.Wrapped, **about: object):
        self.function = function
        self.lower = function.lower

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_other_devices_call_the_step_itself(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch, parallel: str
) -> None:
    config = replace(tiny_config, devices=4, parallel=parallel)
    _, _, usual = three_steps(config)
    # Exports are for CPUs; what a GPU runs is tried here as far as a CPU can.
    monkeypatch.setattr("flowseg.training.drivers.KeptTrace", Untraced)
    driver = make_driver(config, STEPS)
    state = driver.place_state(init_state(config, PARAMS, STEPS))
    leaves = jax.tree.leaves((state.params, state.ema, state.opt))
    for i, expected in enumerate(usual):
        state, metrics = driver(state, make_batch(i))
        assert named(metrics)["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert all(leaf.is_deleted() for leaf in leaves)
    assert driver.traces == 1


def test_noise_depends_on_the_step(tiny_config: Config) -> None:
    driver, state = start(tiny_config)
    _, first = driver(driver.place_state(jax.tree.map(lambda a: a.copy(), state)), make_batch(0))
    moved = replace(jax.tree.map(lambda a: a.copy(), state), step=state.step + 1)
    _, second = driver(driver.place_state(moved), make_batch(0))
    assert named(first)["loss"] != named(second)["loss"]


def test_a_non_finite_loss_changes_nothing_but_the_counters(tiny_config: Config) -> None:
    driver, state = start(tiny_config)
    before = jax.tree.map(np.array, state)
    bad = make_batch(0)
    bad["image"][0, 3, 3, 0] = np.nan
    state, metrics = driver(state, bad)
    for a, b in zip(
        jax.tree.leaves((before.params, before.ema, before.opt)),
        jax.tree.leaves((state.params, state.ema, state.opt)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, np.asarray(b))
    assert (int(state.step), int(state.skipped), int(state.bad_run), int(state.updates)) == (1, 1, 1, 0)
    state, metrics = driver(state, make_batch(1))
    assert np.isfinite(named(metrics)["loss"])
    assert (int(state.step), int(state.skipped), int(state.bad_run), int(state.updates)) == (2, 1, 0, 1)


def test_accumulation_updates_every_second_step(tiny_config: Config) -> None:
    driver, state = start(replace(tiny_config, optim=replace(tiny_config.optim, accumulate=2, clip_norm=0.1)))
    before = np.array(state.params)
    state, _ = driver(state, make_batch(0))
    np.testing.assert_array_equal(before, np.asarray(state.params))
    assert int(state.updates) == 0
    state, _ = driver(state, make_batch(1))
    assert np.abs(before - np.asarray(state.params)).max() > 0
    assert int(state.updates) == 1


def test_accumulation_collects_the_mean_gradient_and_starts_again(tiny_config: Config) -> None:
    twice = replace(tiny_config, optim=replace(tiny_config.optim, accumulate=2, clip_norm=0.1))
    driver, state = start(twice)
    state, first = driver(state, make_batch(0))
    collected = 2 * np.asarray(state.gradient)
    assert float(np.sqrt((collected**2).sum())) == pytest.approx(named(first)["grad_norm"], rel=1e-4)
    state, _ = driver(state, make_batch(1))
    np.testing.assert_array_equal(np.asarray(state.gradient), 0)
    # Adam's first moment after one update is 0.1 times the clipped mean of both gradients.
    mean = optax.tree_utils.tree_get(state.opt, "mu") / 0.1
    assert float(np.sqrt((mean**2).sum())) == pytest.approx(twice.optim.clip_norm, rel=1e-3)
    other = mean / np.abs(mean).max() - collected / np.abs(collected).max()
    assert np.abs(other).max() > 1e-3, "the update is more than the first gradient"


def test_bf16_computes_in_it_and_keeps_float32_parameters(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real network, traced: how near its loss and gradients come is in tests/models/test_kernels.py."""
    monkeypatch.undo()
    devices = jax.devices()[:1]
    programs = {}
    for precision in ("bf16", "float32"):
        config = replace(tiny_config, precision=precision)
        state = init_state(config, init_params(config), STEPS)
        mapped, _ = drivers.by_jit(local_step(config, STEPS, devices), Mesh(np.asarray(devices), (AXIS,)))
        programs[precision] = mapped.trace(state, make_batch(0), jax.random.key(0))
    after, _ = programs["bf16"].out_info
    assert {leaf.dtype.name for leaf in jax.tree.leaves((after.params, after.ema))} == {"float32"}
    assert ["bf16[" in str(programs[precision].jaxpr) for precision in ("bf16", "float32")] == [True, False]
