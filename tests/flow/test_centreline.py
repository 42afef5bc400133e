"""The soft skeleton, and the loss on it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowseg.config import Family, FlowConfig
from flowseg.flow import Draw, make_flow
from flowseg.flow.binary import dice_loss
from flowseg.flow.centreline import cldice_loss, soft_skeleton


def bars(*rows: slice, size: int = 40) -> jax.Array:
    """A mask of horizontal bars from border to border."""
    mask = np.zeros((1, size, size, 1), np.float32)
    for row in rows:
        mask[:, row] = 1
    return jnp.asarray(mask)


def test_a_line_is_its_own_skeleton() -> None:
    line = bars(slice(20, 21))
    np.testing.assert_array_equal(soft_skeleton(line), line)


@pytest.mark.parametrize("width", [3, 5, 9])
def test_a_bar_is_thinned_to_its_middle(width: int) -> None:
    skeleton = np.asarray(soft_skeleton(bars(slice(10, 10 + width))))[0, :, 20, 0]
    assert np.flatnonzero(skeleton).tolist() == [10 + width // 2]


def test_the_skeleton_of_probabilities_stays_within_them() -> None:
    p = jax.random.uniform(jax.random.key(0), (2, 32, 32, 1))
    skeleton = soft_skeleton(p)
    assert (skeleton >= 0).all() and (skeleton <= 1).all() and (skeleton <= p + 1e-6).all()


def test_a_gap_costs_more_than_as_many_pixels_of_the_edge() -> None:
    mask = bars(slice(10, 15))
    broken = mask.at[:, 10:15, 16:24].set(0)  # 40 pixels
    thinner = mask.at[:, 10].set(0)  # 40 pixels
    np.testing.assert_allclose(dice_loss(40 * broken - 20, mask), dice_loss(40 * thinner - 20, mask), rtol=1e-5)
    assert cldice_loss(mask, mask) < 1e-6
    assert cldice_loss(thinner, mask) < 0.02 < 0.08 < cldice_loss(broken, mask)


def test_its_gradient_closes_a_gap() -> None:
    mask = bars(slice(10, 13))
    p = jnp.clip(mask, 0.1, 0.9).at[:, 10:13, 18:22].set(0.1)
    gradient = jax.grad(cldice_loss)(p, mask)
    assert jnp.isfinite(gradient).all()
    assert (gradient[:, 11, 18:22] < 0).all()


@pytest.mark.parametrize("family", ["binary", "supervised", "gaussian"])
def test_every_family_takes_it(family: Family) -> None:
    target = 2 * bars(slice(10, 13)) - 1
    draw = Draw(jax.random.key(0), jnp.arange(1), 1)
    config = FlowConfig(family, consistency=0.0)

    def loss(weight: float) -> float:
        flow = make_flow(replace(config, cldice=weight))
        return float(flow.loss(lambda x, t: 0.1 * x, target, draw))

    assert loss(1.0) - loss(0.0) == pytest.approx((loss(0.5) - loss(0.0)) * 2, rel=1e-4)
    assert loss(1.0) > loss(0.0) + 0.01
