"""Pixels that do not count: no family's loss sees them, and the others count as before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowseg.config import Family, FlowConfig
from flowseg.flow import Draw, Maps, make_flow
from flowseg.flow.binary import mask_loss

FAMILIES: tuple[Family, ...] = ("binary", "gaussian", "supervised")
RNG = np.random.default_rng(0)
SIZE = (4, 12, 12, 1)
TARGET = jnp.asarray(np.sign(RNG.standard_normal(SIZE, np.float32)))
LOGITS = jnp.asarray(RNG.standard_normal(SIZE, np.float32))
OTHER = jnp.asarray(RNG.standard_normal(SIZE, np.float32))
# The first example counts whole, the second in part, the third in one pixel, the last not at all.
SHARES = jnp.asarray([1.0, 0.5, 0.0, 0.0])[:, None, None, None]
WEIGHT = (jnp.asarray(RNG.random(SIZE)) < SHARES).astype(jnp.float32).at[2, 5, 5].set(1)


def loss(
    family: Family,
    logits: Maps,
    target: Maps,
    weight: Maps | None,
    places: slice = slice(0, 4),
    consistency: float = 0.0,
) -> jax.Array:
    """The loss of a network that looks at single pixels, for the examples at some places of a batch of four."""

    def predict(x: Maps, t: jax.Array) -> Maps:
        return logits[places][: len(x)] + x * (1 + t[:, None, None, None])

    flow = make_flow(FlowConfig(family, cldice=0.5, consistency=consistency, consistency_probability=1.0))
    draw = Draw(jax.random.key(0), jnp.arange(4)[places], 4)
    return flow.loss(predict, target[places], draw, None if weight is None else weight[places])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_outside_does_not_change_the_loss(family: Family) -> None:
    outside = WEIGHT == 0
    changed = (jnp.where(outside, OTHER, LOGITS), jnp.where(outside, -TARGET, TARGET))
    one, two = (loss(family, *maps, WEIGHT, consistency=1e3) for maps in ((LOGITS, TARGET), changed))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_an_example_without_a_pixel_inside_has_no_gradient() -> None:
    gradient = jax.grad(lambda logits: mask_loss(logits, (TARGET + 1) / 2, weight=WEIGHT))(LOGITS)
    assert jnp.isfinite(gradient).all() and ((gradient != 0) == (WEIGHT != 0)).all() and not WEIGHT[3].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_with_every_pixel_inside_the_loss_is_that_without_a_weight(family: Family) -> None:
    with_it, without = (loss(family, LOGITS, TARGET, weight) for weight in (jnp.ones(SIZE), None))
    np.testing.assert_allclose(with_it, without, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_does_not_depend_on_how_a_batch_is_divided(family: Family) -> None:
    """Parts with many and with few pixels inside have the same weight."""
    whole = loss(family, LOGITS, TARGET, WEIGHT)
    parts = [loss(family, LOGITS, TARGET, WEIGHT, part) for part in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-5)
