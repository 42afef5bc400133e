"""The reduced recipe and its banner, with the warning of a GPU that JAX does not use."""

from dataclasses import replace
from pathlib import Path

import pytest
from refusals import refusal

from flowseg.commands import presets
from flowseg.config import Config, FlowConfig
from flowseg.evaluation.label_survival import ReducedSize, Survival
from flowseg.phantoms.angiogram import write_phantoms


def banner(preset: str) -> str:
    full = Config()
    return presets.banner(full, presets.cpu_preset(full, presets.PHANTOMS), preset)


def test_the_banner_says_what_is_reduced_and_names_an_unused_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "gpu_unused", lambda: "WARNING: a GPU\n")
    first, *rest = banner("auto").splitlines()
    why = "Because no accelerator was found: images of at most 288 pixels, 192x192 crops"
    assert first == "WARNING: a GPU" and len(rest) == 3 and rest[0].startswith(why)
    assert "500 epochs (207,000 steps with 155 images)" in rest[1]
    assert banner("cpu").startswith("Because --preset cpu: ")


def test_the_banner_counts_the_full_recipe_for_the_images_that_there_are(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", size=64, counts={"train": 3, "val": 1, "test": 1})
    full = replace(Config(), data=replace(Config().data, root=str(tmp_path / "data")))
    assert "500 epochs (4,000 steps with 3 images)" in presets.banner(
        full, presets.cpu_preset(full, presets.PHANTOMS), "cpu"
    )


def test_the_reduced_recipe_is_fitted_to_the_labels(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "small", size=64, counts={"train": 2, "val": 1, "test": 1})
    of_data, of_phantoms = (presets.reduced_recipe(Config(), root) for root in (str(tmp_path / "small"), None))
    assert (of_data.data.max_side, of_phantoms.data.max_side) == (192, presets.PHANTOMS.max_side)
    assert "train" in refusal(lambda: presets.reduced_recipe(Config(), str(tmp_path)))


def test_the_banner_says_how_many_steps_are_at_half_size(tmp_path: Path) -> None:
    reduced = presets.cpu_preset(Config(), ReducedSize(256, 256, few=False))
    assert ": images of at most 256 pixels, 256x256 crops, " in presets.banner(Config(), reduced, "cpu")
    assert "1,800 steps of 4 crops, the first 900 of them at half size." in presets.banner(Config(), reduced, "cpu")
    assert "half size" not in banner("cpu")


def test_few_small_images_are_trained_on_for_a_shorter_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set counts as small by how many crops of 192x192 its images hold: here 100 of one, and 25 of four."""
    monkeypatch.setattr(presets, "find_pairs", lambda root, split: [None] * int(root.name))
    for side, least in ((192, 100), (384, 25), (None, 4)):
        monkeypatch.setattr(presets, "working_side", lambda root, side=side: Survival(side, 1.0, 1024))
        short, long = (presets.reduced_recipe(Config(), str(tmp_path / str(n))) for n in (least - 1, least))
        assert (long.train.epochs, long.data.crop) == (18, 256)
        assert long.data.max_side == (max(side, 256) if side else None)
        assert (short.train.epochs, short.data.crop, short.data.max_side) == (6, 192, side)


def test_what_the_reduced_recipe_does_not_name_is_kept() -> None:
    config = replace(Config(), optim=replace(Config().optim, clip_norm=0.5), data=replace(Config().data, threads=3))
    reduced = presets.cpu_preset(config, presets.PHANTOMS)
    assert (reduced.optim.clip_norm, reduced.data.threads) == (0.5, 3)


def test_a_step_costs_what_its_evaluations_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the binary flow evaluates the network 6.8 times with the consistency term, and 6 times without."""
    monkeypatch.setattr(presets, "_gflops", lambda: 100.0)
    plain = replace(Config(), flow=FlowConfig(consistency=0.0))
    smaller = replace(plain, data=replace(plain.data, crop=160))
    patches = replace(plain, model=replace(plain.model, patch=2))
    seconds = [presets.step_seconds(config) for config in (Config(), plain, smaller, patches)]
    assert seconds[0] / seconds[1] == pytest.approx(6.8 / 6)
    assert seconds[1] / seconds[2] == seconds[1] / seconds[3] == pytest.approx(4)
