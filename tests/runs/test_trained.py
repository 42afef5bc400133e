"""A run of a fold opened for use: its data must still be divided as they were when it was trained."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from flowseg.config import Config, FilmConfig
from flowseg.data.dataset import Dataset
from flowseg.embeddings.source import IMAGE_STATS
from flowseg.models.network import init_params
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import create_run
from flowseg.runs.prepare import Prepared, prepare
from flowseg.runs.trained import Trained
from flowseg.sampling.segment import Segmentation
from flowseg.training.state import init_state

CHANGED = "its validation images, labels or embeddings have changed since it was trained"


@pytest.fixture
def opened(tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """A function that opens a run of fold 1 of 2, whose mask rule is tuned when it is needed; nothing is sampled."""

    def segment(sampler: object, params: object, images: Dataset) -> Iterator[Segmentation]:
        return (Segmentation(example.target[None] > 0) for example in images)

    monkeypatch.setattr("flowseg.runs.trained.segment", segment)
    root = Path(shutil.copytree(str(tiny_config.data.root), tmp_path / "data"))
    film = FilmConfig(stages=(0,), condition_width=8, hidden_width=8)
    config = replace(
        tiny_config,
        model=replace(tiny_config.model, multipliers=(1,), full_attention_levels=(0,), film=film),
        data=replace(tiny_config.data, root=str(root), fold="1/2", max_side=None),
        eval=replace(tiny_config.eval, threshold="tuned"),
    )
    run = create_run(tmp_path / "run", config, IMAGE_STATS)
    record = {"best_dice": 0.5, "validation": prepare(config).datasets["val"].whole_digest()}
    checkpoints = Checkpoints(run.path)
    checkpoints.save("best", init_state(config, init_params(config), 12), config, record)
    checkpoints.close()
    return lambda **more: Trained.open(run, **more)


def add_image(root: Path) -> None:
    for kind in ("image", "label"):
        shutil.copy(min((root / "test" / kind).iterdir()), root / "train" / kind / "added.png")


def test_the_rule_of_a_fold_is_tuned_on_the_images_that_it_was_validated_on(
    opened: Callable[..., Trained], tmp_path: Path
) -> None:
    add_image(tmp_path / "data")
    told = refusal(lambda: opened().rule)
    assert f"{tmp_path / 'run'}: {CHANGED}" in told and "or use --threshold fixed" in told
    for kind in ("image", "label"):
        (tmp_path / "data" / "train" / kind / "added.png").unlink()
    assert 0 < opened().rule.threshold < 1
    add_image(tmp_path / "data")
    assert 0 < opened().rule.threshold < 1  # what is kept was tuned on them


def test_the_images_of_a_fold_are_those_that_it_was_not_trained_on(
    opened: Callable[..., Trained], tmp_path: Path
) -> None:
    assert opened().prepare(["fold"]).datasets["fold"].split == "fold"
    add_image(tmp_path / "data")
    assert CHANGED in refusal(lambda: opened().prepare(["fold"]))


def test_with_other_embeddings_the_labels_tell_whether_a_fold_has_changed(
    opened: Callable[..., Trained], tmp_path: Path
) -> None:
    def with_vectors() -> Prepared:
        prepared = prepare(opened().run.config)
        val = prepared.datasets["val"]
        datasets = {**prepared.datasets, "val": val.with_embeddings(np.ones((len(val), 4), np.float32))}
        return replace(prepared, datasets=datasets)

    assert opened(prepared=with_vectors(), embeddings="other").validation is None
    assert CHANGED in refusal(lambda: opened(prepared=with_vectors()))
    add_image(tmp_path / "data")
    assert CHANGED in refusal(lambda: opened(prepared=with_vectors(), embeddings="other"))
