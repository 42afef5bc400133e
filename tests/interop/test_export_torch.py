"""A run becomes the original's checkpoint again: the same names, shapes and bits, and the same outputs in PyTorch."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from refusals import refusal

from flowseg.config import Config, DataConfig, FilmConfig, FilmPoint, FlowConfig, ModelConfig, OptimConfig
from flowseg.config_values import from_dict
from flowseg.flow import make_flow
from flowseg.interop import export_torch, import_torch
from flowseg.interop.checkpoint_files import import_run
from flowseg.interop.export_torch import import_options, write_ckpt
from flowseg.models.kernels import PLAIN
from flowseg.models.network import Network, Params, init_params, params_of
from flowseg.runs.folder import Run
from flowseg.runs.trained import Trained
from flowseg.sampling.windows import WindowSampler

Arrays = dict[str, np.ndarray]


def narrow(stages: tuple[int, ...] = (1, 3), point: FilmPoint = "after_block1") -> Config:
    film = FilmConfig(stages=stages, point=point, embedding_width=6, condition_width=4, hidden_width=4)
    model = ModelConfig(dim=8, head_dim=4, full_attention_levels=(1, 3), film=film)
    return Config(model=model, data=DataConfig(crop=32), optim=OptimConfig(rule="muon"))


def params_for(config: Config) -> Params:
    """Random parameters; none of them is the constant that it would start from."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: rng.normal(0, 0.1, a.shape).astype(np.float32), init_params(config))


def trained(config: Config, params: Params) -> Trained:
    run = Run(Path("run"), config, None)
    return Trained(run, config, params, 12, 0.5, "digest", WindowSampler(config))


def assert_equal(a: Params, b: Params) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture(scope="module")
def original(shared: Path) -> Arrays:
    with np.load(shared / "parity" / "unet_film_dim8_32px.npz") as archive:
        return dict(archive)


def test_export_after_import_gives_the_same_state_dict(original: Arrays) -> None:
    state = {name.removeprefix("param/"): value for name, value in original.items() if name.startswith("param/")}
    model = import_torch(state, image_size=32, full_attention_at=(8, 4))
    found = export_torch(params_of(model), Config(model=model.config, data=DataConfig(crop=32)))
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == np.float32 and found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("config", [narrow(), narrow(stages=())], ids=["film", "no film"])
def test_import_after_export_gives_the_same_network(config: Config) -> None:
    params = params_for(config)
    model = import_torch(export_torch(params, config), image_size=32, full_attention_at=(16, 4))
    expected = config.model if config.model.film.stages else replace(config.model, film=FilmConfig())
    assert model.config == expected
    assert_equal(params_of(model), params)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("flow.family = supervised", {"flow": {"family": "supervised"}, "eval": {"steps": 1}}),
        ("model.patch = 2", {"model": {"patch": 2}}),
        ("model.multipliers = (1, 2)", {"model": {"multipliers": (1, 2), "full_attention_levels": (1,)}}),
        ("model.multipliers = (1, 1, 2, 2)", {"model": {"multipliers": (1, 1, 2, 2), "film": {"stages": (0,)}}}),
        ("model.heads = 2", {"model": {"heads": 2}}),
        ("model.film.junction_radius = 3", {"model": {"film": {"junction_radius": 3}}}),
    ],
)
def test_what_the_original_does_not_have_is_refused(field: str, changes: dict[str, Any], tmp_path: Path) -> None:
    config = from_dict(Config, {"data": {"crop": 32}, **changes})
    message = refusal(lambda: write_ckpt(trained(config, {}), tmp_path / "last.ckpt"))
    assert message.startswith(f"{field}: the original PyTorch network has ")
    assert not list(tmp_path.iterdir())


def test_without_pytorch_the_export_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    message = refusal(lambda: write_ckpt(trained(narrow(), params_for(narrow())), tmp_path / "new" / "last.ckpt"))
    assert "pip install 'flowseg[vlm]'" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.torch
def test_a_run_becomes_a_ckpt_and_a_run_again(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
    config = replace(narrow(point="after_block2"), flow=FlowConfig("gaussian"))
    params, file = params_for(config), tmp_path / "new" / "last.ckpt"
    write_ckpt(trained(config, params), file)
    content = torch.load(file, weights_only=True)
    assert content["hyper_parameters"] == {
        "arch_name": "medsegdiff_flow",
        "image_size": 32,
        "model_channels": 8,
        "channel_mult": [1, 2, 3, 4],
        "attn_resolutions": [16, 4],
        "use_vlm_film": True,
        "vlm_film_decoder_stages": [1, 3],
    }
    assert all(value.dtype == torch.float32 for value in content["state_dict"].values())
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]
    assert import_options(config) == " --flow gaussian --target mask --film-point after_block2"
    run = import_run(file, tmp_path / "run", flow="gaussian", target="mask", film_point="after_block2")
    assert (run.config.model, run.config.data.crop, run.config.data.target) == (config.model, 32, "mask")
    assert_equal(Trained.open(run).params, params)


@pytest.mark.torch
def test_the_reference_in_pytorch_gives_the_same_outputs(original: Arrays, torch_reference: Callable[[], Any]) -> None:
    """Other weights than the original's, on its inputs: the largest difference is 1e-5 of the largest output."""
    torch = pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
    reference = torch_reference()
    film = FilmConfig(stages=(0, 1, 2, 3), embedding_width=64, condition_width=32, hidden_width=32)
    config = Config(model=ModelConfig(dim=8, film=film), data=DataConfig(crop=32))
    params = params_for(config)
    sizes = reference.NetworkConfig(
        size=32, dim=8, film_stages=(0, 1, 2, 3), embedding_width=64, condition_width=32, hidden_width=32
    )
    network = reference.VelocityNetwork(sizes)
    state = {name: torch.from_numpy(array) for name, array in export_torch(params, config).items()}
    network.load_state_dict(state, strict=True)
    inputs = [original[f"in/{name}"] for name in ("x", "t", "image", "embedding")]
    with torch.inference_mode():
        expected = network(*map(torch.from_numpy, inputs)).numpy().transpose(0, 2, 3, 1)
    x, t, image, embedding = (a.transpose(0, 2, 3, 1) if a.ndim == 4 else a for a in inputs)
    apply = jax.jit(Network(config, PLAIN, make_flow(config.flow).estimate).apply)
    found = np.asarray(apply(params, x, t, image, embedding))
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
