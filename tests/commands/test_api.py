"""`flowseg.load`: the maps of `flowseg predict`, its settings and embeddings, its refusals; what an import costs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import Flowseg, first, trained_run
from refusals import refusal

from flowseg import Model, UserError, load
from flowseg.commands.startup import set_up_jax
from flowseg.data.image_files import content_hash, decode
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.embeddings.store import write_store
from flowseg.evaluation import prediction
from flowseg.evaluation.overlays import grey, save_png
from flowseg.sampling.mask import MaskRule
from flowseg.sampling.segment import Segmentation, segment


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("run") / "tiny", tiny_data, "gaussian")


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    """Compiled once for all tests."""
    return load(run, ensemble=3, threshold="tuned", min_component="auto")


@pytest.fixture(scope="module")
def image(tiny_data: Path) -> np.ndarray:
    return decode(first(tiny_data, "image", "test"))


def test_its_maps_are_those_of_predict(
    flowseg: Flowseg,
    run: Path,
    model: Model,
    image: np.ndarray,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit, with the same settings; `flowseg predict` then finds the threshold that was tuned here."""
    maps: list[Segmentation] = []

    def kept(*args: object) -> Iterator[Segmentation]:
        maps[:] = segment(*args)  # type: ignore[arg-type]
        return iter(maps)

    monkeypatch.setattr(prediction, "segment", kept)
    file, out = first(tiny_data, "image", "test"), tmp_path / "out"
    outcome = flowseg(
        "predict", run, file, "--out", out, "--ensemble", 3, "--threshold", "tuned", "--min-component", "auto"
    )
    assert outcome.status == 0 and "tuned on val" not in outcome.out
    found = model.segment(image)
    assert found.uncertainty is not None
    np.testing.assert_array_equal(found.probability, maps[0].probability)
    np.testing.assert_array_equal(found.uncertainty, maps[0].uncertainty)
    np.testing.assert_array_equal(grey(found.mask), decode(out / f"{file.stem}_mask.png"))
    said = json.loads((out / "prediction.json").read_text())
    assert said["eval"] == asdict(model.config.eval)
    assert MaskRule(said["threshold"], said["min_component"]) == model.rule
    assert model.rule.threshold != 0.5


def test_a_field_of_view_is_that_of_predict(
    flowseg: Flowseg, run: Path, model: Model, image: np.ndarray, tiny_data: Path, tmp_path: Path
) -> None:
    file = first(tiny_data, "image", "test")
    fov = np.hypot(*(np.indices(image.shape) - 30)) < 20
    (tmp_path / "fov").mkdir()
    save_png(tmp_path / "fov" / file.name, grey(fov))
    how = ("--ensemble", 3, "--threshold", "tuned", "--min-component", "auto")
    assert flowseg("predict", run, file, "--out", tmp_path / "out", "--fov", tmp_path / "fov", *how).status == 0
    found = model.segment(image, fov)
    assert found.uncertainty is not None
    for kind, values in asdict(found).items():
        np.testing.assert_array_equal(grey(values), decode(tmp_path / "out" / f"{file.stem}_{kind}.png"))
    (item,) = model.read(file)
    np.testing.assert_array_equal(model.segment(item, fov).probability, found.probability)
    assert not found.probability[~fov].any() and not found.mask[~fov].any() and found.probability[fov].any()
    for wrong, said in (
        (fov[1:], "shape (63, 64); give a boolean array of the image's shape (64, 64)"),
        (grey(fov), "dtype uint8"),
        (fov.tolist(), "is list"),
        (np.zeros_like(fov), "has no pixel inside"),
    ):
        for given in (image, item):
            assert said in refusal(lambda wrong=wrong, given=given: model.segment(given, wrong))


def test_only_what_python_prints_is_on_standard_output(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(run)
    said = capsys.readouterr()
    assert "checkpoint of step" in said.err and not said.out


def test_a_folder_of_runs_is_one_model(image: np.ndarray, tiny_data: Path, tmp_path: Path) -> None:
    runs = [trained_run(tmp_path / "runs" / f"seed-{k}", tiny_data, "supervised", seed=k) for k in (0, 1)]
    alone = [load(run).segment(image).probability for run in runs]
    together = load(tmp_path / "runs")
    found = together.segment(image)
    np.testing.assert_allclose(found.probability, np.mean(alone, axis=0), atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert found.uncertainty is not None  # that of two samples
    other = together.with_settings(min_component=9)
    assert (other.rule, together.rule) == (MaskRule(0.5, 9), MaskRule(0.5, 0))
    np.testing.assert_array_equal(other.segment(image).probability, found.probability)


def test_images_have_any_size_and_type(model: Model, image: np.ndarray) -> None:
    """Also smaller than a window."""
    rgb = np.stack([image, image[::-1], image.T], axis=2)
    for given in (image[:9, :13], rgb[:, :40], image.astype(np.uint16) * 200, np.sqrt(image)):
        found = model.segment(given)
        assert found.uncertainty is not None
        assert found.probability.shape == found.mask.shape == found.uncertainty.shape == given.shape[:2]
        assert [m.dtype for m in (found.probability, found.mask)] == [np.float32, np.bool_]
        assert 0 <= found.probability.min() < found.probability.max() <= 1
        np.testing.assert_array_equal(found.mask, model.rule.mask(found.probability))


def test_embeddings_come_from_the_store(run: Path, model: Model, image: np.ndarray, tmp_path: Path) -> None:
    """They are found by the image's pixels. Another vector gives another prediction, and none is made up."""
    store = tmp_path / "store.safetensors"
    vector = np.random.default_rng(0).normal(size=(1, IMAGE_STATS.width)).astype(np.float32)
    write_store(store, IMAGE_STATS, ["image"], [content_hash(image)], vector)
    other = load(run, embeddings=store, ensemble=3)
    assert not np.array_equal(other.segment(image).probability, model.segment(image).probability)
    message = refusal(lambda: other.segment(image[::-1]))
    assert f"{store}: 1 of 1 images are not in it (the image)" in message and "flowseg embed DATA" in message


def test_what_cannot_be_used_is_refused(run: Path, model: Model, tmp_path: Path) -> None:
    for wrong, reason in (
        ({"steps": 0}, "eval.steps = 0: must be at least 1"),
        ({"steps": 2.5}, "eval.steps = 2.5: expected int"),
        ({"sampler": "rk5"}, "eval.sampler = 'rk5': expected"),
        ({"threshold": 0.3}, "eval.threshold = 0.3: expected Literal['fixed', 'tuned']"),
        ({"min_component": -1}, "eval.min_component = -1: must be auto, or at least 0"),
        ({"step": 3}, "step: no such setting; choose from sampler, steps, "),
        ({"embeddings": tmp_path / "none"}, f"{tmp_path}/none: no such embedding store"),
    ):
        assert reason in refusal(lambda wrong=wrong: load(run, **wrong))  # type: ignore[misc]
    for name, wrong in (("step", 3), ("embeddings", "other.safetensors")):
        message = refusal(lambda name=name, wrong=wrong: model.with_settings(**{name: wrong}))
        assert message.startswith(f"{name}: no such setting; choose from sampler, steps, ")
        assert message.endswith("min_component; another embedding store is an argument of flowseg.load")
    assert f"{tmp_path}: no run there" in refusal(lambda: load(str(tmp_path)))
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished", ignore=shutil.ignore_patterns("checkpoints")))
    assert f"{unfinished}: has no best checkpoint" in refusal(lambda: load(unfinished))
    assert "the image: every pixel has the value 7" in refusal(lambda: model.segment(np.full((9, 9), 7)))
    assert issubclass(UserError, Exception)


def test_programs_are_kept_where_the_commands_keep_them(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless JAX has been told of another folder."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    set_up_jax()
    try:
        for given, then in ((None, os.environ["JAX_COMPILATION_CACHE_DIR"]), (str(tmp_path / "own"),) * 2):
            jax.config.update("jax_compilation_cache_dir", given)
            load(run)
            assert jax.config.jax_compilation_cache_dir == then
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_an_import_is_light() -> None:
    code = "import flowseg, sys; print({'load', 'Model'} <= {*dir(flowseg)}, {'jax', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True set()\n"
