"""Muon on the vector of all parameters, held to optax's on the tree."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers, muon

from flowseg.config import OptimConfig
from flowseg.models.vector import Layout
from flowseg.training.muon import UPDATE_RMS, Matrices
from flowseg.training.optim import optimizer

CONFIG = OptimConfig(
    rule="muon", lr=1e-3, muon_lr=4e-3, weight_decay=0.1, clip_norm=1e9, schedule="cosine", accumulate=1
)


def _params(seed: int) -> dict:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return {
        "block": {"conv": {"kernel": normal(3, 3, 4, 8), "bias": normal(8)}, "spectrum": normal(6, 6, 4)},
        "other": {"conv": {"kernel": normal(3, 3, 4, 8)}, "dense": {"kernel": normal(8, 4)}},
        "attention": {"qkv": {"kernel": normal(8, 12)}, "qkv_x": {"kernel": normal(6, 9)}},
        "head": {"kernel": normal(4, 1)},
        "stem_mask": {"kernel": normal(7, 7, 1, 4), "bias": normal(4)},
        "film": {"conditioner": {"dense": {"kernel": normal(16, 4)}}},
    }


PARAMS, LAYOUT = _params(0), Layout(_params(0))


def test_the_order_of_the_groups_is_that_of_the_network():
    """A set's order changes with the process, and with it the program, which no compilation cache then finds."""
    groups = Matrices(LAYOUT).groups
    assert groups == [group for group in Matrices(LAYOUT).split(LAYOUT.ravel_host(PARAMS)) if group != "rest"]
    assert isinstance(groups, list)


def test_matrices_are_split_and_joined_without_loss():
    matrices, vector = Matrices(LAYOUT), LAYOUT.ravel(PARAMS)
    split = matrices.split(vector)
    assert {name: array.shape for name, array in split.items()} == {
        "rest": (8 + 144 + 64 + 4 + 196 + 4,),
        "36x8": (2, 36, 8),
        "8x4": (4, 8, 4),
        "6x3": (3, 6, 3),
    }
    np.testing.assert_array_equal(matrices.join(split), vector)


def _apart(params: dict) -> dict:
    """The tree with queries, keys and values as kernels of their own."""
    fused = params["attention"]
    parts = {n: dict(zip("qkv", np.split(np.asarray(fused[n]["kernel"]), 3, axis=1), strict=True)) for n in fused}
    return {**params, "attention": parts}


def test_updates_are_those_of_optax_on_the_tree():
    def dimensions(path: tuple, leaf: jax.Array) -> MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name.startswith(("block", "other", "attention")) or not name.endswith(("/kernel", "/q", "/k", "/v")):
            return None
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    rate = optax.warmup_cosine_decay_schedule(1e-3, 1e-3, 0, 10)
    reference = muon(
        lambda count: 4 * rate(count),
        weight_decay=0.1,
        adam_weight_decay=0.0,
        adam_learning_rate=rate,
        muon_weight_dimension_numbers=jax.tree_util.tree_map_with_path(dimensions, _apart(PARAMS)),
        consistent_rms=UPDATE_RMS,
    )
    rule = optimizer(CONFIG, 10, LAYOUT)
    params, vector = _apart(PARAMS), LAYOUT.ravel(PARAMS)
    state, state_of_vector = reference.init(params), rule.init(vector)
    for seed in range(1, 4):
        grads = _params(seed)
        updates, state = reference.update(_apart(grads), state, params)
        params = optax.apply_updates(params, updates)
        update, state_of_vector = rule.update(LAYOUT.ravel(grads), state_of_vector, vector)
        vector = vector + update
    found = _apart(LAYOUT.unravel(vector))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, params)


@pytest.mark.parametrize("name", ["block/conv/kernel", "other/dense/kernel", "attention/qkv/kernel"])
def test_an_update_has_the_root_mean_square_of_a_rate_times_a_fifth(name: str):
    """Whatever the size of the gradient; orthogonalisation by five iterations is rough, hence the tolerance."""
    rule = optimizer(replace(CONFIG, weight_decay=0.0), 10, LAYOUT)
    vector = LAYOUT.ravel(PARAMS)
    update, _ = rule.update(1e-4 * LAYOUT.ravel(_params(1)), rule.init(vector), vector)
    of_matrix = LAYOUT.unravel(jnp.asarray(update))
    for part in name.split("/"):
        of_matrix = of_matrix[part]
    rms = float(jnp.sqrt(jnp.mean(of_matrix**2)))
    assert rms == pytest.approx(UPDATE_RMS * CONFIG.muon_lr, rel=0.35)
