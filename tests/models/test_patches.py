"""Patches: nothing is lost or moved, and a network on them sees and decides every pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowseg.config import Config, DataConfig, ModelConfig
from flowseg.errors import UserError
from flowseg.models.kernels import PLAIN
from flowseg.models.network import Network, abstract_params, init_params, parameter_counts
from flowseg.models.patches import from_patches, to_patches

X = np.random.default_rng(0).standard_normal((2, 8, 12, 1)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_patches_are_put_together_again(n: int) -> None:
    patches = to_patches(jnp.asarray(X), n)
    assert patches.shape == (2, 8 // n, 12 // n, n * n)
    np.testing.assert_array_equal(from_patches(patches, n), X)
    # Position (1, 2) holds the pixels of the patch that begins at (n, 2 n), row by row.
    np.testing.assert_array_equal(patches[0, 1, 2], X[0, n : 2 * n, 2 * n : 3 * n, 0].ravel())


def test_a_network_on_patches_sees_and_decides_every_pixel() -> None:
    config = Config(
        model=ModelConfig(dim=8, multipliers=(1,), heads=1, head_dim=8, full_attention_levels=(0,), patch=2),
        data=DataConfig(crop=16),
    )
    params = init_params(config)
    network = Network(config, PLAIN, lambda output, x, t: output)
    x, image = (np.random.default_rng(seed).standard_normal((1, 16, 16, 1)).astype(np.float32) for seed in (1, 2))

    @jax.jit
    def output(image: jax.Array) -> jax.Array:
        return network.apply(params, x, jnp.zeros(1), image, None)

    plain = np.asarray(output(image))
    assert plain.shape == (1, 16, 16, 1) and len(np.unique(plain)) == 256
    for place in ((4, 4), (4, 5), (5, 4), (5, 5)):  # all pixels of one patch
        changed = image.copy()
        changed[0, *place, 0] += 1
        assert np.abs(np.asarray(output(changed)) - plain).max() > 1e-4


def test_patches_change_the_first_and_last_layer_and_the_spectra_alone() -> None:
    sizes = {}
    for patch in (1, 2):
        config = Config(model=ModelConfig(dim=8, patch=patch), data=DataConfig(crop=64))
        sizes[patch] = jax.tree_util.tree_leaves_with_path(abstract_params(config))
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, a), (_, b) in zip(sizes[1], sizes[2], strict=True)
        if a.shape != b.shape
    }
    assert all(name.startswith(("stem_", "head/", "encoder")) for name in names)
    assert {"stem_mask/kernel", "stem_image/kernel", "head/kernel", "head/bias"} <= names
    assert all("conditioner" in name for name in names if name.startswith("encoder"))
    assert parameter_counts(abstract_params(Config()))["total"] == 10_694_977


def test_a_crop_holds_whole_patches_at_every_level() -> None:
    with pytest.raises(UserError, match=r"data\.crop = 24: must be a multiple of 16 for patches of 2"):
        Config(model=ModelConfig(patch=2), data=DataConfig(crop=24))
