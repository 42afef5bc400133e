"""Every entry of an original checkpoint is imported, and an error names what does not fit."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from refusals import refusal

from flowseg.config import Config
from flowseg.interop import checkpoint_files, import_torch
from flowseg.interop.checkpoint_files import import_run, read_ckpt
from flowseg.models.network import Params, params_of

STEM = "unet.base_unet.init_conv.weight"
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights(shared: Path) -> Arrays:
    """The `state_dict` of the small network."""
    with np.load(shared / "parity" / "unet_film_dim8_32px.npz") as archive:
        return {name.removeprefix("param/"): archive[name] for name in archive.files if name.startswith("param/")}


@pytest.fixture(scope="module")
def whole(weights: Arrays) -> Params:
    return params_of(imported(weights))


def imported(state_dict: dict[str, Any], image_size: int = 32, full_attention_at: tuple[int, ...] = (8, 4)) -> Any:
    return import_torch(state_dict, image_size=image_size, full_attention_at=full_attention_at)


def assert_equal(a: Params, b: Params) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_flatten_with_path(a)[0], jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def without(weights: Arrays, *prefixes: str) -> Arrays:
    return {name: value for name, value in weights.items() if not name.startswith(prefixes)}


def test_sizes_are_read_from_the_shapes(weights: Arrays) -> None:
    config = imported(weights).config
    assert (config.dim, config.multipliers, config.heads, config.head_dim) == (8, (1, 2, 3, 4), 4, 32)
    assert config.full_attention_levels == (2, 3)
    film = config.film
    assert (film.stages, film.embedding_width, film.condition_width, film.hidden_width) == ((0, 1, 2, 3), 64, 32, 32)


def test_every_number_is_kept(weights: Arrays, whole: Params) -> None:
    """The layouts only move numbers: both networks hold the same numbers, each as often."""
    ours = np.sort(np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(whole)]))
    np.testing.assert_array_equal(ours, np.sort(np.concatenate([value.ravel() for value in weights.values()])))


def test_wrapped_and_archived_weights_are_the_same(weights: Arrays, whole: Params) -> None:
    checkpoint = {"state_dict": weights, "epoch": 3, "hyper_parameters": {"image_size": 32}}
    archive = {f"param/{name}": value for name, value in weights.items()}
    archive["out/loss"] = np.zeros(())
    for form in (checkpoint, archive):
        assert_equal(params_of(imported(form)), whole)


def test_names_may_lack_the_wrappers_prefix(weights: Arrays, whole: Params) -> None:
    bare = {name.removeprefix("unet.base_unet."): value for name, value in weights.items()}
    assert_equal(params_of(imported(bare)), whole)


def test_a_network_without_film(weights: Arrays, whole: Params) -> None:
    model = imported(without(weights, "vlm_"))
    assert model.config.film.stages == ()
    assert_equal(params_of(model), {name: part for name, part in whole.items() if name != "film"})


@pytest.mark.parametrize(
    ("heads", "stages"), [(("2", "3"), (2, 3)), (("0",), (0,)), (("1", "3"), (1, 3)), (("3",), (3,))]
)
def test_stages_are_found_from_the_widths_of_the_heads(
    weights: Arrays, whole: Params, heads: tuple[str, ...], stages: tuple[int, ...]
) -> None:
    kept = without(weights, *(f"vlm_film_heads.{i}." for i in range(4) if str(i) not in heads))
    model = imported(kept)
    assert model.config.film.stages == stages
    found = params_of(model)["film"]["heads"]
    for place, stage in enumerate(stages):
        assert_equal(found[place], whole["film"]["heads"][stage])


@pytest.mark.parametrize("numbers", [("0", "1"), ("1", "0")])
def test_heads_may_be_numbered_otherwise(weights: Arrays, whole: Params, numbers: tuple[str, str]) -> None:
    """The heads of stages 2 and 3 are identified by their widths, whatever their names are."""
    kept = without(weights, "vlm_film_heads.0.", "vlm_film_heads.1.")
    for stage, number in zip(("2", "3"), numbers, strict=True):
        kept = {name.replace(f"heads.{stage}.", f"heads.n{number}."): value for name, value in kept.items()}
    model = imported(kept)
    assert model.config.film.stages == (2, 3)
    for place in (0, 1):
        assert_equal(params_of(model)["film"]["heads"][place], whole["film"]["heads"][place + 2])


@pytest.mark.parametrize(
    "name",
    [
        STEM,
        "unet.base_unet.mid_block1.block1.proj.bias",
        "unet.base_unet.conditioners.2.ff_parser_attn_map",
        "unet.base_unet.downs.0.2.fn.to_qkv.weight",
        "vlm_film_conditioner.image_to_cond.ln.bias",
        "vlm_film_heads.1.mlp.0.weight",
    ],
)
def test_a_missing_entry_is_named(weights: Arrays, name: str) -> None:
    message = refusal(lambda: imported(without(weights, name)))
    assert "missing entry" in message
    assert (name if name != STEM else "init_conv.weight") in message


@pytest.mark.parametrize("name", ["unet.base_unet.downs.0.0.extra.weight", "vlm_film_conditioner.text.weight", "x"])
def test_a_surplus_entry_is_named(weights: Arrays, name: str) -> None:
    assert f"surplus entry {name}: " in refusal(lambda: imported({**weights, name: np.zeros(3)}))


@pytest.mark.parametrize(
    "name",
    [
        "unet.base_unet.final_conv.weight",
        "unet.base_unet.mid_block2.block2.norm.weight",
        "unet.base_unet.downs.1.0.mlp.1.weight",
        "unet.base_unet.conditioners.0.norm_input.g",
        "vlm_film_heads.3.ln.weight",
    ],
)
def test_a_misshapen_entry_is_named(weights: Arrays, name: str) -> None:
    wider = np.concatenate([weights[name], weights[name]])
    message = refusal(lambda: imported({**weights, name: wider}))
    assert f"entry {name} has shape {wider.shape}" in message and "expected" in message


def test_a_transposed_matrix_is_misshapen(weights: Arrays) -> None:
    name = "unet.base_unet.downs.1.0.mlp.1.weight"
    assert name in refusal(lambda: imported({**weights, name: weights[name].T}))


@pytest.mark.parametrize("size", [64, 320, 16])
def test_another_image_size_is_an_error(weights: Arrays, size: int) -> None:
    attention = (size // 4, size // 8)
    message = refusal(lambda: imported(weights, size, attention))
    assert "ff_parser_attn_map has shape (8, 32, 32)" in message and f"({size}, {size}, 8)" in message


def test_attention_at_other_sizes_is_an_error(weights: Arrays) -> None:
    assert "full_attention_at: 7 is no map size of 32x32" in refusal(lambda: imported(weights, 32, (7,)))
    # Linear attention has a norm that full attention lacks, so the names differ.
    for sizes in ((4,), (16, 8, 4)):
        message = refusal(lambda sizes=sizes: imported(weights, 32, sizes))
        assert "missing entry" in message and "to_out" in message


def test_something_else_is_refused() -> None:
    assert "init_conv.weight" in refusal(lambda: imported({}))
    assert "init_conv.weight" in refusal(lambda: imported({"layer.weight": np.zeros((2, 2))}))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hyper_parameters": [1]}, "its hyper_parameters is [1]"),
        ({"hyper_parameters": {"image_size": "32", "attn_resolutions": [8, 4]}}, "its image_size is '32'"),
        ({"hyper_parameters": {"image_size": 32, "attn_resolutions": 8}}, "its attn_resolutions is 8"),
        ({"vlm_film_trained_stages": 3}, "its vlm_film_trained_stages is 3"),
        ({"epoch": np.ones(2)}, "its epoch is array([1., 1.])"),
        ({"state_dict": {1: "x"}}, "entry 1 is no array of finite numbers"),
        ({"state_dict": {"a": np.full(2, np.nan)}}, "entry a is no array of finite numbers"),
    ],
)
def test_a_ckpt_with_other_types_inside_is_refused(
    weights: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], reason: str
) -> None:
    content = {"state_dict": weights, "hyper_parameters": {"image_size": 32, "attn_resolutions": [8, 4]}, **changed}
    monkeypatch.setattr(checkpoint_files, "read_ckpt", lambda path: content)
    assert reason in refusal(lambda: import_run(tmp_path / "last.ckpt", tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_the_target_is_the_one_published_with_the_flow_unless_another_is_named(
    weights: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says whether the maps are probabilities, and changes nothing else."""
    content = {"state_dict": weights, "hyper_parameters": {"image_size": 32, "attn_resolutions": [8, 4]}}
    monkeypatch.setattr(checkpoint_files, "read_ckpt", lambda path: content)

    def config(name: str, **options: Any) -> Config:
        return import_run(tmp_path / "last.ckpt", tmp_path / name, **options).config

    binary, sauna = config("binary"), config("sauna", flow="gaussian")
    mask = config("mask", flow="gaussian", target="mask")
    assert [one.data.target for one in (binary, sauna, mask)] == ["mask", "sauna", "mask"]
    assert replace(mask, data=replace(mask.data, target="sauna")) == sauna
    assert "data.target = 'sauna': the binary family" in refusal(lambda: config("none", target="sauna"))
    assert not (tmp_path / "none").exists()


def test_without_pytorch_a_ckpt_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    file = tmp_path / "last.ckpt"
    assert "no such file" in refusal(lambda: read_ckpt(file))
    file.write_bytes(b"something")
    assert "pip install 'flowseg[vlm]'" in refusal(lambda: import_run(file, tmp_path / "run"))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.torch
def test_an_original_ckpt_becomes_a_run(shared: Path, whole: Params, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
    from flowseg.runs.checkpoints import Checkpoints
    from flowseg.runs.folder import open_run

    run = import_run(shared / "parity" / "original_checkpoint_dim8.ckpt", tmp_path / "run")
    assert open_run(run.path).config == run.config and run.finished
    assert run.config.data.crop == 32 and run.config.model.film.stages == (0, 1, 2, 3)
    checkpoints = Checkpoints(run.path)
    params, meta = checkpoints.restore_best(run.config)
    checkpoints.close()
    assert meta["record"]["imported_from"] == "original_checkpoint_dim8.ckpt"
    assert run.config.flow.family == "binary"
    gaussian = import_run(shared / "parity" / "original_checkpoint_dim8.ckpt", tmp_path / "gaussian", flow="gaussian")
    assert gaussian.config.flow.family == "gaussian" and gaussian.config.eval.sampler == "midpoint"
    assert_equal(params, jax.tree.map(np.asarray, whole))


@pytest.mark.torch
def test_a_file_that_is_no_ckpt_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
    file = tmp_path / "last.ckpt"
    file.write_bytes(b"something")
    assert f"{file}: cannot be read as a checkpoint" in refusal(lambda: import_run(file, tmp_path / "run"))
    torch.save({"model": torch.zeros(2)}, file)
    assert f"{file}: holds no state_dict" in refusal(lambda: import_run(file, tmp_path / "run"))
    torch.save({"state_dict": {"a": torch.zeros(2)}}, file)
    assert "does not record its image size; give it with --image-size" in refusal(
        lambda: import_run(file, tmp_path / "run")
    )
    assert list(tmp_path.iterdir()) == [file]
