"""The binary flow gives the original's numbers, from the original's uniform draws, within 1e-6."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowseg.flow import binary
from flowseg.flow.binary import Maps

Arrays = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def original(request: pytest.FixtureRequest) -> Arrays:
    """The original's numbers; FLOWSEG_PARITY_FILE names another file of the same layout."""
    given = os.environ.get("FLOWSEG_PARITY_FILE")
    file = Path(given) if given else request.getfixturevalue("shared") / "parity" / "binary_flow_24px.npz"
    with np.load(file) as arrays:
        return dict(arrays)


def maps(array: np.ndarray) -> Maps:
    """NCHW to NHWC, with any axes before."""
    return jnp.moveaxis(jnp.asarray(array), -3, -1)


def stand_in(original: Arrays, x: Maps, t: jax.Array) -> Maps:
    """The network of the file: a 3x3 convolution, a condition, and the time."""
    kernel = jnp.asarray(original["net/kernel"])[:, :, None, None]
    convolved = jax.lax.conv_general_dilated(
        2 * x - 1, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    return convolved + 2 * maps(original["net/cond"])[: len(x)] + (t - 0.3)[:, None, None, None]


def start(original: Arrays, t: jax.Array) -> Maps:
    """x_t for the file's masks and uniforms; t may be of the first examples only."""
    arrays = (maps(original[f"{name}"])[: len(t)] for name in ("loss/x1", "path/u_source", "path/u_keep"))
    x1, u_source, u_keep = arrays
    return binary.path(x1, t, u_source, u_keep)


@pytest.mark.parametrize("name", ["bce", "dice", "total"])
def test_loss(original: Arrays, name: str) -> None:
    function = {"bce": binary.bce_loss, "dice": binary.dice_loss, "total": binary.mask_loss}[name]
    found = function(maps(original["loss/logits"]), maps(original["loss/x1"]))
    np.testing.assert_allclose(found, original[f"loss/{name}"], rtol=0, atol=1e-6)


def test_gradient_of_the_loss(original: Arrays) -> None:
    found = jax.grad(binary.mask_loss)(maps(original["loss/logits"]), maps(original["loss/x1"]))
    expected = maps(original["loss/grad_logits"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * float(jnp.abs(expected).max()))


def test_path(original: Arrays) -> None:
    np.testing.assert_array_equal(start(original, jnp.asarray(original["path/t"])), maps(original["path/x_t"]))


@pytest.mark.parametrize("rule", ["euler", "heun"])
def test_sampler(original: Arrays, rule: str) -> None:
    uniforms = maps(original[f"{rule}/uniforms"])
    found = binary.sample(
        lambda x, t: stand_in(original, x, t),
        lambda number: uniforms[number],
        heun=rule == "heun",
        steps=int(original["steps"].item()),
    )
    np.testing.assert_allclose(found, maps(original[f"{rule}/result"]), rtol=0, atol=1e-6)


def test_consistency(original: Arrays) -> None:
    t1, t2 = (jnp.asarray(original[f"consistency/{name}"]) for name in ("t1", "t2"))
    found = binary.consistency(lambda x, t: stand_in(original, x, t), start(original, t1), t1, t2)
    assert float(original["consistency/value"]) > 1e-5
    np.testing.assert_allclose(found.mean(), original["consistency/value"], rtol=1e-5, atol=1e-6)
