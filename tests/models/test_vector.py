"""Parameters as one vector and back."""

import jax
import jax.numpy as jnp
import numpy as np

from flowseg.models.vector import Layout

TREE = {"b": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}, "a": np.array([7.0, 8.0], np.float32)}


def test_round_trip_on_host_and_device() -> None:
    layout = Layout(TREE)
    assert layout.shapes == {"a": (2,), "b/kernel": (2, 3)} and layout.size == 8
    np.testing.assert_array_equal(layout.ravel_host(TREE), [7, 8, 0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(layout.ravel(jax.tree.map(jnp.asarray, TREE)), layout.ravel_host(TREE))
    for back in (layout.unravel_host(layout.ravel_host(TREE)), layout.unravel(jnp.asarray(layout.ravel_host(TREE)))):
        jax.tree.map(np.testing.assert_array_equal, back, TREE)


def test_the_gradient_of_the_vector_is_the_vector_of_gradients() -> None:
    layout = Layout(TREE)
    vector = jnp.asarray(layout.ravel_host(TREE))
    found = jax.grad(lambda v: jnp.sum(layout.unravel(v)["b"]["kernel"] ** 2))(vector)
    np.testing.assert_array_equal(found, [0, 0, 0, 2, 4, 6, 8, 10])
