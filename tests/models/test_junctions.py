"""FiLM is disabled near predicted junctions."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from flowseg.config import Config, DataConfig, FilmConfig, ModelConfig
from flowseg.flow import make_flow
from flowseg.models.junctions import at_stage, junction_gate, junctions, thin
from flowseg.models.kernels import PLAIN
from flowseg.models.network import Network, init_params
from flowseg.phantoms.angiogram import draw_phantom

ESTIMATE = make_flow(Config().flow).estimate


def t_shape() -> np.ndarray:
    mask = np.zeros((40, 48), bool)
    mask[8:13, 4:44] = True
    mask[8:36, 22:27] = True
    return mask


def test_a_skeleton_is_thin_and_keeps_the_mask_s_topology() -> None:
    masks = np.stack([draw_phantom(0, i, 128)[1] > 0 for i in range(3)])
    skeletons = np.asarray(jax.jit(thin)(jnp.asarray(masks)))
    eight = np.ones((3, 3))
    for mask, skeleton in zip(masks, skeletons, strict=True):
        assert not (skeleton & ~mask).any()
        assert ndimage.label(skeleton, eight)[1] == ndimage.label(mask, eight)[1]
        # As many holes, counted as 4-connected components of the background.
        assert ndimage.label(~np.pad(skeleton, 1))[1] == ndimage.label(~np.pad(mask, 1))[1]
        # scikit-image's thinning by the same paper also removes the corners of steps, so it keeps fewer pixels.
        assert 1 <= skeleton.sum() / skeletonize(mask).sum() < 1.25


def test_a_t_has_one_junction_and_a_line_none() -> None:
    mask = t_shape()
    found = np.argwhere(np.asarray(junctions(thin(jnp.asarray(mask[None]))))[0])
    assert len(found) >= 1 and np.abs(found - [10, 24]).max() <= 3
    line = np.zeros((1, 40, 48), bool)
    line[:, 18:23, 4:44] = True
    assert not np.asarray(junctions(thin(jnp.asarray(line)))).any()


def test_the_gate_is_closed_in_a_disc_around_the_junction() -> None:
    estimate = jnp.asarray(np.where(t_shape(), 0.4, -0.4)[None, ..., None], jnp.float32)
    gate = np.asarray(junction_gate(estimate, 5))[0, ..., 0]
    closed = np.argwhere(gate == 0)
    assert set(np.unique(gate)) == {0.0, 1.0}
    assert np.pi * 4**2 < len(closed) < np.pi * 8**2
    assert np.hypot(*(closed - [10, 24]).T).max() <= 5 + 3
    # A pixel of a smaller map is 0 where any of the pixels that it covers is 0.
    coarse = np.asarray(at_stage(jnp.asarray(gate)[None, ..., None], 4))[0, ..., 0]
    assert coarse.shape == (10, 12)
    np.testing.assert_array_equal(coarse, gate.reshape(10, 4, 12, 4).min(axis=(1, 3)))


def small_config(film: FilmConfig, *multipliers: int) -> Config:
    model = ModelConfig(dim=8, multipliers=multipliers, heads=1, head_dim=8, full_attention_levels=(), film=film)
    return Config(data=DataConfig(crop=16), model=model)


def test_film_is_left_out_where_the_gate_is_closed() -> None:
    config = small_config(FilmConfig(stages=(0, 1), embedding_width=8), 1, 1)
    params = init_params(config)
    for head in params["film"]["heads"].values():
        head["dense2"]["bias"] = np.full_like(head["dense2"]["bias"], 0.5)
    rng = np.random.default_rng(0)
    x, image = (jnp.asarray(rng.standard_normal((2, 16, 16, 1), np.float32)) for _ in range(2))
    t, embedding = jnp.array([0.2, 0.8]), jnp.asarray(rng.standard_normal((2, 8), np.float32))
    model = Network(config, PLAIN, ESTIMATE)._model(params)
    plain, without = jax.jit(model)(x, t, image, embedding), jax.jit(model)(x, t, image)
    opened = jax.jit(model)(x, t, image, embedding, jnp.ones_like(x))
    closed = jax.jit(model)(x, t, image, embedding, jnp.zeros_like(x))
    assert float(jnp.abs(plain - without).max()) > 0.01
    np.testing.assert_allclose(opened, plain, atol=1e-5)
    np.testing.assert_allclose(closed, without, atol=1e-5)


def test_a_gated_network_trains_through_its_second_evaluation_only() -> None:
    config = small_config(FilmConfig(stages=(0,), embedding_width=8, junction_radius=2), 1)
    rng = np.random.default_rng(0)
    x, image = (jnp.asarray(rng.standard_normal((1, 16, 16, 1), np.float32)) for _ in range(2))
    t, embedding = jnp.array([0.5]), jnp.asarray(rng.standard_normal((1, 8), np.float32))

    @jax.jit
    @jax.value_and_grad
    def loss(params: dict, lowered: float) -> jax.Array:
        network = Network(config, PLAIN, lambda output, x, t: ESTIMATE(output, x, t) - lowered)
        return jnp.mean(jnp.square(network.apply(params, x, t, image, embedding)))

    # Without a vessel there is no junction, and the gate is open everywhere.
    (value, gradient), (other, ungated_gradient) = (loss(init_params(config), lowered) for lowered in (0.0, 1e9))
    # Fresh heads modulate nothing, so the gate does not change the output. It does change their gradient.
    np.testing.assert_allclose(value, other, rtol=1e-5)
    np.testing.assert_allclose(gradient["head"]["kernel"], ungated_gradient["head"]["kernel"], rtol=1e-3, atol=1e-6)
    finest = [g["film"]["heads"][0]["dense2"]["bias"] for g in (gradient, ungated_gradient)]
    assert float(jnp.abs(finest[0] - finest[1]).max()) > 1e-6
