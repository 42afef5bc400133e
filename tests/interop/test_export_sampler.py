"""The exported program gives the numbers of WindowSampler, and needs no flowseg."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stub_network import CROP, Stub, config

from flowseg.config import Config, EvalConfig, Family
from flowseg.data.dataset import network_input
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.flow import make_flow
from flowseg.interop import export_sampler as export_sampler_file
from flowseg.interop.export_sampler import PROGRAM_FILE, SIGNATURE_FILE, export_sampler, write_sampler
from flowseg.models.network import init_params
from flowseg.runs.folder import Run
from flowseg.runs.trained import Trained
from flowseg.sampling.segment import segment
from flowseg.sampling.windows import WindowSampler

FAMILIES: tuple[Family, ...] = ("binary", "gaussian", "supervised")
WINDOWS = 2


def narrow(family: Family, *, film: bool, tta: bool = False) -> Config:
    base = config(family=family, film=film)
    stages = (0,) if film else ()
    model = replace(
        base.model, multipliers=(1,), full_attention_levels=stages, film=replace(base.model.film, stages=stages)
    )
    return replace(
        base, model=model, eval=EvalConfig("euler", steps=1, window_batch=WINDOWS, tta=tta, min_component=0)
    )


def trained(config: Config) -> Trained:
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: rng.normal(0, 0.3, a.shape).astype(np.float32), init_params(config))
    run = Run(Path("run"), config, IMAGE_STATS if config.model.film.stages else None)
    return Trained(run, config, params, 12, 0.5, "digest", WindowSampler(config))


def inputs(config: Config) -> list[np.ndarray]:
    """Image, noise and, with FiLM, embedding of some windows."""
    rng, shape = np.random.default_rng(1), (WINDOWS, CROP, CROP, 1)
    image = rng.uniform(-1, 1, shape).astype(np.float32)
    noise = np.stack([make_flow(config.flow).noise(rng, shape[1:3]) for _ in range(WINDOWS)])[..., None]
    embedding = rng.normal(0, 1, (WINDOWS, config.model.film.embedding_width)).astype(np.float32)
    return [image, noise, embedding] if config.model.film.stages else [image, noise]


def sampled(model: Trained, arrays: list[np.ndarray]) -> np.ndarray:
    """What WindowSampler finds in the windows."""
    image, noise, *embedding = arrays
    found, _ = model.sampler.program(model.params, noise[None], image, *(embedding or [None]), WINDOWS)
    return np.asarray(found)[0]


@pytest.mark.parametrize("film", [False, True])
def test_it_averages_over_views_and_draws_one_sample(film: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples of an ensemble are for the caller to draw."""
    alone = narrow("gaussian", film=film, tta=True)
    ramp = jnp.arange(CROP)[:, None] / CROP  # a network whose answer depends on how a window is turned

    def network(x: jax.Array, image: jax.Array, embedding: jax.Array | None) -> jax.Array:
        shift = 0.0 if embedding is None else embedding.mean(axis=1)[:, None, None, None]
        return jnp.tanh(ramp * x + image + shift)

    monkeypatch.setattr(export_sampler_file, "Network", lambda *_: Stub(network))
    model, single = (
        Trained(Run(Path("run"), config, None), config, {}, 12, 0.5, "digest", WindowSampler(config))
        for config in (replace(alone, eval=replace(alone.eval, ensemble=3)), alone)
    )
    single.sampler.network = Stub(network)  # type: ignore[assignment]
    program, arrays = export_sampler(model, WINDOWS), inputs(alone)
    assert program.platforms == ("cpu", "cuda")
    np.testing.assert_allclose(np.asarray(program.call(*arrays)), sampled(single, arrays), rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_code_for_noise_draws_what_the_family_draws(family: Family) -> None:
    flow, shape = make_flow(narrow(family, film=False).flow), (5, 7)
    found = eval(flow.noise_code, {"np": np, "rng": np.random.default_rng(3), "shape": shape})
    expected = flow.noise(np.random.default_rng(3), shape)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_the_card_s_code_gives_without_flowseg_what_the_sampler_gives(tmp_path: Path) -> None:
    model, out = trained(narrow("binary", film=True)), tmp_path / "out"
    write_sampler(model, out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["README.md", "out", PROGRAM_FILE, SIGNATURE_FILE]
    arrays = inputs(model.config)
    np.savez(tmp_path / "mine.npz", **dict(zip(("image", "noise", "embedding"), arrays, strict=True)))
    code = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    called = "probability = np.asarray(sampler.call(image, noise, embedding))\n"
    assert called in code
    code = code.replace(called, f"mine = np.load('../mine.npz')\nimage, noise, embedding = mine.values()\n{called}")
    script = f"import sys\nsys.modules['flowseg'] = None\n{code}\nnp.save('../probability.npy', probability)"
    subprocess.run([sys.executable, "-c", script], cwd=out, check=True, timeout=120)
    expected = sampled(model, arrays)
    assert expected.std() > 0.05
    np.testing.assert_allclose(np.load(tmp_path / "probability.npy"), expected, rtol=0, atol=1e-6)


def test_the_steps_of_the_card_find_what_flowseg_finds(tmp_path: Path) -> None:
    """A mirrored side, windows that overlap, and resizing, by a family that needs no noise."""
    base = narrow("supervised", film=False)
    model = trained(replace(base, data=replace(base.data, max_side=40)))
    image = np.random.default_rng(0).uniform(-1, 1, (20, 80)).astype(np.float32)
    (found,) = segment(model.sampler, model.params, [network_input("it", f"{1:032x}", image, None, 40)])
    small = np.pad(cv2.resize(image, (40, 10), interpolation=cv2.INTER_AREA), ((0, CROP - 10), (0, 0)), "symmetric")
    y, x = np.mgrid[:CROP, :CROP] - (CROP - 1) / 2
    weights = np.exp(-(y**2 + x**2) / (2 * (CROP / 8) ** 2))
    program, lefts = export_sampler(model, WINDOWS), [0, 12, 24]  # each overlaps by a quarter
    total, weight = np.zeros((2, CROP, 40))
    windows = np.stack([small[:, left : left + CROP] for left in [*lefts, 0]])[..., None]
    for start in range(0, 4, WINDOWS):
        part = windows[start : start + WINDOWS]
        for left, one in zip(lefts[start : start + WINDOWS], np.asarray(program.call(part, 0 * part)), strict=False):
            total[:, left : left + CROP] += weights * one[..., 0]
            weight[:, left : left + CROP] += weights
    expected = cv2.resize((total / weight)[:10], (80, 20), interpolation=cv2.INTER_LINEAR)
    assert expected.std() > 0.05
    np.testing.assert_allclose(found.probability, expected, rtol=0, atol=1e-5)


def test_the_signature_tells_a_damaged_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        export_sampler_file, "export_sampler", lambda *_: SimpleNamespace(serialize=lambda: b"program")
    )
    write_sampler(trained(narrow("binary", film=True)), tmp_path / "out", windows=5)
    signature = json.loads((tmp_path / "out" / SIGNATURE_FILE).read_text())
    assert signature["sha256"] == hashlib.sha256(b"program").hexdigest()
    assert {name: (put["shape"], put["dtype"]) for name, put in signature["inputs"].items()} == {
        "image": ([5, CROP, CROP, 1], "float32"),
        "noise": ([5, CROP, CROP, 1], "uint32"),
        "embedding": ([5, 4], "float32"),
    }
