"""The binary flow: its path, its sampler on networks that are known, and the randomness of its windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from flowseg.config import EvalConfig, FlowConfig
from flowseg.flow import Draw, Flow, Maps, binary, make_flow
from flowseg.flow.binary import pixel_uniforms

KEY = jax.random.key(3)
MASK = (jax.random.uniform(jax.random.key(1), (1, 64, 64, 1)) > 0.8).astype(jnp.float32)
SEEDS = np.random.default_rng(0).integers(2**32, size=(1, 64, 64, 1), dtype=np.uint32)


def family(**options: float) -> Flow:
    return make_flow(FlowConfig(**options))  # type: ignore[arg-type]


def draw(places: range, size: int) -> Draw:
    return Draw(KEY, jnp.asarray(places), size)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_path_goes_from_coin_tosses_to_the_mask(t: float) -> None:
    u_source, u_keep = (jax.random.uniform(key, MASK.shape) for key in jax.random.split(KEY))
    x = np.asarray(binary.path(MASK, jnp.asarray([t]), u_source, u_keep))
    assert set(np.unique(x)) <= {0, 1}
    mask = np.asarray(MASK) == 1
    # A pixel is the mask's with probability t, else 0 or 1 with equal probability. 4 standard errors of 800 pixels.
    assert x[mask].mean() == pytest.approx(t + (1 - t) / 2, abs=0.07)
    assert x[~mask].mean() == pytest.approx((1 - t) / 2, abs=0.035)


def test_the_loss_asks_for_the_mask_at_times_that_follow_the_power() -> None:
    times: list[np.ndarray] = []

    def perfect(x: Maps, t: jax.Array) -> Maps:
        times.append(np.asarray(t))
        return 40 * (jnp.broadcast_to(MASK, x.shape) - 0.5)

    target = jnp.broadcast_to(2 * MASK - 1, (256, *MASK.shape[1:]))
    for power in (1.0, 3.0):
        loss = family(time_power=power, consistency=0.0).loss(perfect, target, draw(range(256), 256))
        assert float(loss) < 1e-6
    np.testing.assert_allclose(times[1], times[0] ** 3, rtol=1e-5)
    assert stats.kstest(times[0], "uniform").pvalue > 0.01
    assert float(family(consistency=0.0).loss(lambda x, t: -perfect(x, t), target, draw(range(256), 256))) > 10


def test_a_pixel_that_is_partly_vessel_is_vessel_as_often_and_its_share_is_asked_for() -> None:
    share = 0.3
    target = jnp.full((1, 64, 64, 1), 2 * share - 1)
    seen: list[Maps] = []

    def network(x: Maps, t: jax.Array) -> Maps:
        seen.append(x)
        return jnp.zeros_like(x)

    flow = family(consistency=0.0, time_power=1e-6)  # t = 1: x_t is the drawn mask
    flow.loss(network, target, draw(range(1), 1))
    assert float(seen[0].mean()) == pytest.approx(share, abs=0.03)
    losses = [
        float(flow.loss(lambda x, t, p=p: jnp.full_like(x, np.log(p / (1 - p))), target, draw(range(1), 1)))
        - float(binary.dice_loss(jnp.full_like(target, np.log(p / (1 - p))), (target + 1) / 2))
        for p in (0.2, share, 0.4)
    ]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_the_consistency_term_comes_as_often_as_asked_and_on_two_examples(probability: float) -> None:
    calls: list[int] = []

    def network(x: Maps, t: jax.Array) -> Maps:
        jax.debug.callback(lambda n: calls.append(int(n)), len(x))
        return jnp.zeros_like(x)

    target = jnp.broadcast_to(2 * MASK - 1, (6, *MASK.shape[1:]))[:, :4, :4]
    loss = jax.jit(
        lambda key: family(consistency_probability=probability).loss(network, target, Draw(key, jnp.arange(6), 6))
    )
    for key in jax.random.split(KEY, 200):
        loss(key).block_until_ready()
    jax.effects_barrier()
    assert calls.count(6) == 200
    assert calls.count(2) == pytest.approx(400 * probability, abs=4 * np.sqrt(200 * 0.2 * 0.8) * 2)
    assert set(calls) == ({6} if probability == 0 else {2, 6})


def test_the_consistency_term_is_zero_where_steps_agree() -> None:
    """A network that predicts its own input moves nothing; one that ignores it does, and has a gradient."""
    x = MASK[:, :8, :8]
    t1, t2 = jnp.asarray([0.1]), jnp.asarray([0.4])
    same = lambda p, t: jnp.log(p + 1e-6) - jnp.log(1 - p + 1e-6)  # noqa: E731
    assert float(binary.consistency(same, x, t1, t2)[0]) < 1e-9
    value, slope = jax.value_and_grad(lambda a: binary.consistency(lambda p, t: a * t + p, x, t1, t2)[0])(2.0)
    assert value > 1e-6 and abs(slope) > 1e-6


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_perfect_network_gives_the_mask(sampler: str, steps: int) -> None:
    calls: list[float] = []

    def perfect(x: Maps, t: jax.Array) -> Maps:
        jax.debug.callback(lambda t: calls.append(round(float(t), 4)), t[0])
        return 40 * (MASK - 0.5)

    settings = EvalConfig(sampler=sampler, steps=steps)  # type: ignore[arg-type]
    probability, nfe = family().sample(perfect, SEEDS, settings)
    np.testing.assert_allclose(probability, MASK, atol=1e-6)
    jax.effects_barrier()
    # As many evaluations as it says: the second of Heun's last step would change nothing.
    assert len(calls) == int(nfe) == (steps if sampler == "euler" else 2 * steps - 1)
    assert max(calls) == pytest.approx((steps - 1) / steps, abs=1e-3)


def test_the_state_follows_the_network_s_probability() -> None:
    """The states of a network that says 0.8 everywhere go from a half of ones to 0.8 of them."""
    shares: list[tuple[float, float]] = []

    def network(x: Maps, t: jax.Array) -> Maps:
        assert set(np.unique(x)) <= {0, 1}
        shares.append((float(t[0]), float(x.mean())))
        return jnp.full_like(x, np.log(4))

    with jax.disable_jit():
        family().sample(network, SEEDS, EvalConfig(steps=4))
    for t, share in shares:
        assert share == pytest.approx(0.5 + 0.3 * t, abs=0.03)


def test_uniforms_are_uniform_and_new_in_each_draw() -> None:
    first, second = (np.asarray(pixel_uniforms(SEEDS, number)).ravel() for number in (0, 1))
    assert stats.kstest(first, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


def test_a_window_draws_what_the_image_draws_there() -> None:
    whole = np.asarray(pixel_uniforms(SEEDS, 5))
    np.testing.assert_array_equal(pixel_uniforms(SEEDS[:, 10:30, 7:20], 5), whole[:, 10:30, 7:20])


def test_seeds_of_pixels_fill_their_range() -> None:
    seeds = family().noise(np.random.default_rng(0), (300, 200))
    assert seeds.shape == (300, 200) and seeds.dtype == np.uint32
    assert stats.kstest(seeds.ravel() / 2**32, "uniform").pvalue > 0.01
