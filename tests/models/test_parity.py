"""The network gives the original's outputs, FiLM values and gradients, and starts from its distribution."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowseg.config import Config, DataConfig, FilmConfig, ModelConfig
from flowseg.flow import make_flow
from flowseg.flow.gaussian import velocity_loss
from flowseg.interop import import_torch
from flowseg.interop.torch_names import PREFIX, entries
from flowseg.models.group_norm import GROUPS
from flowseg.models.kernels import BLOCKS, PLAIN
from flowseg.models.network import Network, Params, abstract_params, init_params, params_of

TOLERANCE = 1e-4
ESTIMATE = make_flow(Config().flow).estimate
PUBLISHED = Config(model=ModelConfig(film=FilmConfig(stages=(0, 1, 2, 3))), data=DataConfig(crop=320))


@dataclass
class Original:
    """The original's arrays, and the same network in flowseg."""

    arrays: dict[str, np.ndarray]
    config: Config
    params: Params
    network: Network
    velocity: Callable[..., jax.Array]
    """Compiled once per shape of its arguments, for all tests."""

    def map(self, name: str) -> jax.Array:
        """Returns an array of maps, channels last."""
        return jnp.asarray(self.arrays[name].transpose(0, 2, 3, 1))

    def __getitem__(self, name: str) -> jax.Array:
        return jnp.asarray(self.arrays[name])


def imported(arrays: dict[str, np.ndarray], **options: Any) -> tuple[Config, Params]:
    """Returns the original's network as config and parameters."""
    model = import_torch(arrays, image_size=32, full_attention_at=(8, 4), **options)
    return replace(Config(), model=model.config, data=DataConfig(crop=32)), params_of(model)


@pytest.fixture(scope="module")
def original(shared: Path) -> Original:
    with np.load(shared / "parity" / "unet_film_dim8_32px.npz") as archive:
        arrays = dict(archive)
    config, params = imported(arrays)
    network = Network(config, BLOCKS, ESTIMATE)
    return Original(arrays, config, params, network, jax.jit(network.apply))


@pytest.fixture(scope="module")
def loss_and_gradients(original: Original) -> tuple[jax.Array, jax.Array, Params]:
    """Returns the loss, the velocity and the gradient of every parameter, with FiLM after block 1.

    By the plain kernels, which compile sooner than those that the other tests take.
    """
    network = Network(original.config, PLAIN, ESTIMATE)

    def loss(params: Params) -> tuple[jax.Array, jax.Array]:
        inputs = original.map("in/x"), original["in/t"], original.map("in/image"), original["in/embedding"]
        v = network.apply(params, *inputs)
        return velocity_loss(v, original.map("in/target_velocity")), v

    (value, v), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(original.params)
    return value, v, gradients


def relative(found: jax.Array | np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference divided by the largest expected value."""
    assert found.shape == expected.shape
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def assert_velocity(original: Original, found: jax.Array, name: str) -> None:
    assert found.dtype == jnp.float32
    assert relative(found, np.asarray(original.map(name))) < TOLERANCE


def flat(params: Params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def plain(original: Original, params: Params, embedding: jax.Array | None = None) -> jax.Array:
    return original.velocity(params, original.map("in/x"), original["in/t"], original.map("in/image"), embedding)


def test_velocity_without_film(original: Original) -> None:
    assert_velocity(original, plain(original, original.params), "out/velocity_no_film")


def test_velocity_with_film_after_block_1(
    original: Original, loss_and_gradients: tuple[jax.Array, jax.Array, Params]
) -> None:
    name = "out/velocity_film_after_block1"
    assert_velocity(original, plain(original, original.params, original["in/embedding"]), name)
    assert_velocity(original, loss_and_gradients[1], name)


def test_velocity_with_film_after_block_2(original: Original) -> None:
    config, params = imported(original.arrays, film_point="after_block2")
    assert config.model.film.point == "after_block2"
    found = plain(replace_network(original, config), params, original["in/embedding"])
    assert_velocity(original, found, "out/velocity_film_after_block2")


def test_velocity_with_film_in_the_two_finest_stages(original: Original) -> None:
    """With heads 2 and 3 alone, their stages are found from their widths."""
    arrays = {
        name: value
        for name, value in original.arrays.items()
        if not name.startswith(("param/vlm_film_heads.0.", "param/vlm_film_heads.1."))
    }
    config, params = imported(arrays)
    assert config.model.film.stages == (2, 3)
    found = plain(replace_network(original, config), params, original["in/embedding"])
    assert_velocity(original, found, "out/velocity_film_after_block1_stages_2_3")


def replace_network(original: Original, config: Config) -> Original:
    network = Network(config, BLOCKS, ESTIMATE)
    return replace(original, config=config, network=network, velocity=jax.jit(network.apply))


def test_velocity_at_another_size(original: Original) -> None:
    """48x48 maps in a network made for 32x32: the learned spectra are resized."""
    x, image = original.map("in/x_other_size"), original.map("in/image_other_size")
    assert x.shape == (2, 48, 48, 1)
    found = original.velocity(original.params, x, original["in/t"], image, None)
    assert_velocity(original, found, "out/velocity_no_film_other_size")


def test_condition_gamma_and_beta(original: Original) -> None:
    found = original.network.film(original.params, original["in/embedding"])
    assert len(found) == 4
    for stage, (gamma, beta) in enumerate(found):
        assert relative(gamma, original.arrays[f"out/gamma_{stage}"]) < TOLERANCE
        assert relative(beta, original.arrays[f"out/beta_{stage}"]) < TOLERANCE
    model = import_torch(original.arrays, image_size=32, full_attention_at=(8, 4))
    assert model.film is not None
    condition = model.film.conditioner(original["in/embedding"])
    assert relative(condition, original.arrays["out/condition_vector"]) < TOLERANCE


def test_no_output_of_the_original_is_forgotten(original: Original) -> None:
    """Every `out/` name is used by a test above."""
    velocities = ["no_film", "film_after_block1", "film_after_block2", "film_after_block1_stages_2_3"]
    names = {f"velocity_{name}" for name in (*velocities, "no_film_other_size")} | {"condition_vector", "loss"}
    names |= {f"{name}_{stage}" for name in ("gamma", "beta") for stage in range(4)}
    assert {f"out/{name}" for name in names} == {name for name in original.arrays if name.startswith("out/")}


def test_loss(original: Original, loss_and_gradients: tuple[jax.Array, jax.Array, Params]) -> None:
    assert float(loss_and_gradients[0]) == pytest.approx(float(original.arrays["out/loss"]), rel=TOLERANCE)


def test_every_gradient(original: Original, loss_and_gradients: tuple[jax.Array, jax.Array, Params]) -> None:
    gradients = flat(loss_and_gradients[2])
    errors = {}
    compared = set()
    for torch, ours, layout in entries(original.config.model, PREFIX, ["0", "1", "2", "3"]):
        expected = layout.of_torch(original.arrays[f"grad/{torch}"])
        found = gradients.pop(ours)
        assert found.shape == expected.shape, ours
        difference, scale = np.abs(found - expected).max(), np.abs(expected).max()
        compared.add(f"grad/{torch}")
        if ours.endswith(("conv1.bias", "conv2.bias")) and found.size == GROUPS:
            # This bias comes before a GroupNorm whose groups hold one channel, which subtracts it again. Its true
            # gradient is zero and the reference holds rounding noise, so the scale is that of its kernel.
            kernel = torch.replace(".bias", ".weight")
            scale = np.abs(original.arrays[f"grad/{kernel}"]).max()
        errors[torch] = difference / scale
    assert not gradients
    assert compared == {name for name in original.arrays if name.startswith("grad/")}
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE}
    assert wrong == {}


def test_film_at_its_start_changes_nothing(original: Original) -> None:
    params = init_params(original.config)
    without, other = plain(original, params), plain(original, params, 10 * original["in/embedding"])
    np.testing.assert_allclose(other, without, rtol=0, atol=1e-6 * float(jnp.abs(without).max()))
    # The imported heads, which are random, do change the velocity.
    trained = plain(original, {**params, "film": original.params["film"]}, original["in/embedding"])
    assert float(jnp.abs(trained - without).max()) > 0.01 * float(jnp.abs(without).max())


def small_config(**options: Any) -> Config:
    film = FilmConfig(stages=(0, 3), embedding_width=16, condition_width=8, hidden_width=16)
    model = ModelConfig(dim=8, multipliers=(1, 1, 1, 1), heads=2, head_dim=8, film=film)
    return Config(model=model, data=DataConfig(crop=16), **options)


def test_fresh_parameters_are_distributed_as_in_the_original() -> None:
    """PyTorch's defaults: kernels uniform within 1 / sqrt(fan-in), gains 1, biases 0; FiLM starts as the identity."""
    drawn = flat(init_params(small_config()))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), init_params(small_config()))
    assert shapes == abstract_params(small_config())
    for name, value in drawn.items():
        assert value.dtype == np.float32, name
        if name.endswith("kernel") and not (name.startswith("film.heads") and name.endswith("dense2.kernel")):
            bound = np.prod(value.shape[:-1]) ** -0.5
            # Bounds and spread of a uniform distribution, as closely as so many draws tell them.
            room = 1 + 6 / np.sqrt(value.size)
            assert 1 / room < value.std() / (bound / np.sqrt(3)) < room, name
            assert 0.75 * bound < np.abs(value).max() <= bound, name
            assert abs(value.mean()) < 5 * bound / np.sqrt(3 * value.size), name
        else:
            assert (value == name.endswith(("gain", "scale", "spectrum"))).all(), name


@pytest.mark.parametrize(
    ("config", "digest"),
    [
        (small_config(), "e969930eda147423c78f638f806881e3"),
        (small_config(seed=1), "10924cc94129472519b94dcd66bb5412"),
        (PUBLISHED, "6e8bd4ab3d0b52eaefca8ef9fd50b567"),
    ],
    ids=["small", "another seed", "published size"],
)
def test_fresh_parameters_of_a_seed_never_change(config: Config, digest: str) -> None:
    """Stored digests: a run can be repeated with a later version."""
    found = hashlib.sha256()
    for name, value in flat(init_params(config)).items():
        found.update(f"{name} {value.shape} ".encode() + value.tobytes())
    assert found.hexdigest()[:32] == digest


def test_fresh_parameters_are_a_function_of_the_seed(original: Original) -> None:
    config = original.config
    first, again, other = (flat(init_params(c)) for c in (config, config, replace(config, seed=1)))
    kernels = [name for name in first if name.endswith("kernel") and first[name].any()]
    assert len(kernels) > 100
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    for name in kernels:
        assert not np.array_equal(first[name], other[name])
    same_shape = [first[name].tobytes() for name in kernels if first[name].shape == first[kernels[0]].shape]
    assert len(set(same_shape)) == len(same_shape)  # no two layers start equal


def test_arguments_that_do_not_fit_are_refused(original: Original) -> None:
    x, t, image, embedding = (
        original.map("in/x"),
        original["in/t"],
        original.map("in/image"),
        original["in/embedding"],
    )
    apply = original.network.apply
    config = replace(original.config, model=replace(original.config.model, film=FilmConfig()))
    baseline, params = Network(config, BLOCKS, ESTIMATE), init_params(config)
    for call, told in (
        (lambda: apply(original.params, x[:, :20, :20], t, image[:, :20, :20], None), "divisible by 8"),
        (lambda: apply(original.params, x, t[:1], image, None), "t is"),
        (lambda: apply(original.params, x, t, image[:1], None), "image"),
        (lambda: apply(original.params, x, t, image, embedding[:, 1:]), "embedding is"),
        (lambda: baseline.apply(params, x, t, image, embedding), "no FiLM stages"),
    ):
        with pytest.raises(ValueError, match=told):
            jax.eval_shape(call)
