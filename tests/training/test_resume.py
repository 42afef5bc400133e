"""Interrupted runs: what continues is what would have been, to the bit."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from flowseg.config import Config, OptimConfig, TrackerName
from flowseg.errors import UserError
from flowseg.models.network import init_params
from flowseg.models.vector import Layout
from flowseg.runs import trackers
from flowseg.runs.checkpoints import Checkpoints
from flowseg.runs.folder import Lock, Run, create_run
from flowseg.runs.log import read_metrics
from flowseg.runs.prepare import Prepared, prepare
from flowseg.runs.trackers import Tracking
from flowseg.sampling.windows import WindowSampler
from flowseg.training import loop, validation
from flowseg.training.interrupt import Interrupted, StopRequest
from flowseg.training.state import TrainState, init_state


@dataclass(frozen=True)
class World:
    config: Config
    prepared: Prepared
    whole: Run
    """A run that was never interrupted."""
    killed: dict[int, Path]
    """Its folder as it was before some of its steps: what a process killed then leaves behind."""


def go(run: Run, prepared: Prepared, names: Sequence[TrackerName] = ()) -> loop.Record:
    with Tracking(run, names) as tracking:
        return loop.train(run, prepared.datasets, open_trackers=tracking.open)


def final_state(run: Run) -> TrainState:
    config = run.config
    checkpoints = Checkpoints(run.path)
    step = checkpoints.steps("latest")[-1]
    like = init_state(config, init_params(config), 12)
    state, _ = checkpoints.restore_state(step, config, like)
    checkpoints.close()
    return state


def measurements(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in m.items() if k != "images_per_s"} for m in read_metrics(run.path)]


def assert_as_uninterrupted(run: Run, world: World) -> None:
    a, b = final_state(run), final_state(world.whole)
    assert int(a.step) == 12
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path
    assert measurements(run) == measurements(world.whole)


@pytest.fixture(scope="module", autouse=True)
def _one_program() -> Iterator[None]:
    """Trainings of one config share their driver and the sampler of their validations, which are compiled once."""
    made = cache(WindowSampler)

    def shared(config: Config, devices: Sequence[jax.Device], check: Callable[[], None]) -> WindowSampler:
        sampler = made(config, tuple(devices))
        sampler._check = check
        return sampler

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_driver", cache(loop.make_driver))
        patch.setattr(validation, "WindowSampler", shared)
        yield


@pytest.fixture(scope="module")
def world(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> World:
    film = replace(tiny_config.model.film, stages=(0,))
    config = replace(
        tiny_config,
        model=replace(tiny_config.model, multipliers=(1,), full_attention_levels=(0,), film=film),
        optim=replace(tiny_config.optim, rule="muon"),  # its state has the most parts
        train=replace(tiny_config.train, max_bad_steps=2, half_size_share=0.5),
    )
    prepared = prepare(config)
    folder = tmp_path_factory.mktemp("runs")
    whole = create_run(folder / "whole", config, prepared.encoder)
    killed = {step: folder / f"killed-{step}" for step in (2, 5, 7, 8)}
    with pytest.MonkeyPatch.context() as patch:
        for step, path in killed.items():
            at_step(patch, step, lambda path=path: snapshot(whole.path, path))
        go(whole, prepared)
    return World(config, prepared, whole, killed)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Calls `action` once, before the given step is taken."""
    made = loop.make_driver

    class Watched:
        def __init__(self, config: Config, total: int):
            self.driver = made(config, total)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.driver, name)

        def __call__(self, state: TrainState, batch: Any) -> Any:
            if int(state.step) == step:
                action()
            return self.driver(state, batch)

    monkeypatch.setattr(loop, "make_driver", Watched)


def snapshot(source: Path, target: Path) -> None:
    """A copy of a folder in which Orbax may just be renaming a finished checkpoint."""
    for _ in range(20):
        try:
            shutil.copytree(source, target)
            return
        except shutil.Error:
            shutil.rmtree(target)
            time.sleep(0.05)
    raise AssertionError(f"{source} did not hold still")


def test_every_measurement_is_logged_once(world: World) -> None:
    lines = measurements(world.whole)
    assert [m["step"] for m in lines if m["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [m["step"] for m in lines if m["kind"] == "val"] == [4, 8, 12]
    assert [(m["step"], m["stage"]) for m in lines if m["kind"] == "film"] == [(4, 0), (8, 0), (12, 0)]
    assert len({json.dumps(m) for m in lines}) == len(lines)


def test_a_sigterm_saves_and_the_rest_is_bit_equal(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path / "run", world.config, world.prepared.encoder)
    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted) as stopped:
            go(run, world.prepared)
    assert stopped.value.status == 128 + signal.SIGTERM
    assert Checkpoints(run.path).steps("latest")[-1] == 7
    go(run, world.prepared)
    assert_as_uninterrupted(run, world)


def test_a_stop_amid_an_image_leaves_no_validation(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path / "run", world.config, world.prepared.encoder)
    flush, batches = WindowSampler._flush, []

    def stopped(self: WindowSampler, *args: Any) -> None:
        batches.append(args)
        if len(batches) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        flush(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(WindowSampler, "_flush", stopped)
        with pytest.raises(Interrupted):
            go(run, world.prepared)
    assert len(batches) == 1  # the first image has more windows
    assert [m["kind"] for m in measurements(run)] == ["train", "train"]
    go(run, world.prepared)
    assert_as_uninterrupted(run, world)


def test_a_stop_amid_the_last_validation_is_no_end_and_changes_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(world.whole, path=Path(shutil.copytree(world.killed[8], tmp_path / "run")))
    ended: list[bool] = []
    tracker = SimpleNamespace(show=lambda points: None, picture=lambda *picture: None, close=ended.append)
    monkeypatch.setattr(trackers, "_opened", lambda run, name: tracker)
    with monkeypatch.context() as patch:
        at_step(patch, 11, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            go(run, world.prepared, ["mlflow"])
    assert Checkpoints(run.path).steps("latest")[-1] == 12
    go(run, world.prepared, ["mlflow"])
    assert ended == [False, True]
    assert_as_uninterrupted(run, world)


@pytest.mark.parametrize(("place", "method"), [(loop.Training, "_validate"), (Checkpoints, "close")])
def test_a_stop_after_the_last_window_ends_the_training_before_its_scores(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: type, method: str
) -> None:
    """It comes after the last validation, or while the last checkpoint is written."""
    run = replace(world.whole, path=Path(shutil.copytree(world.killed[8], tmp_path / "run")))
    called = getattr(place, method)

    def stopped(self: Any) -> None:
        called(self)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(place, method, lambda self: stopped(self))
        with pytest.raises(Interrupted):
            go(run, world.prepared)
    go(run, world.prepared)
    assert_as_uninterrupted(run, world)


@pytest.mark.parametrize("copied_back", [False, True])
def test_a_run_whose_folder_is_removed_is_not_written_to(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied_back: bool
) -> None:
    run = create_run(tmp_path / "run", world.config, world.prepared.encoder)

    def remove() -> None:
        shutil.rmtree(run.path)
        if copied_back:
            create_run(run.path, world.config, world.prepared.encoder)

    at_step(monkeypatch, 1, remove)
    with Lock(run) as lock, pytest.raises(UserError, match="run: was removed or replaced while it was in use"):
        loop.train(run, world.prepared.datasets, check_folder=lock.check)
    assert [path.name for path in tmp_path.rglob("*")] == (["run", "config.json"] if copied_back else [])


@pytest.mark.parametrize("step", [2, 5, 7, 8])
def test_a_kill_loses_only_what_came_after_the_last_save(world: World, step: int) -> None:
    killed = replace(world.whole, path=world.killed[step])
    go(killed, world.prepared)
    assert_as_uninterrupted(killed, world)


def test_validations_while_steps_are_at_half_size_do_not_lower_the_rate(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    made = loop.plateau

    def watched(config: OptimConfig) -> SimpleNamespace:
        def update(*state: Any, value: float) -> Any:
            seen.append(value)
            return made(config).update(*state, value=value)

        return SimpleNamespace(update=update)

    monkeypatch.setattr(loop, "plateau", watched)
    run = create_run(tmp_path / "run", world.config, world.prepared.encoder)
    go(run, world.prepared)
    dice = {m["step"]: m["dice"] for m in measurements(run) if m["kind"] == "val"}
    assert list(dice) == [4, 8, 12]
    assert seen == pytest.approx([1 - dice[8], 1 - dice[12]])


def test_other_data_is_not_resumed(world: World, tmp_path: Path) -> None:
    copy = replace(world.whole, path=tmp_path / "copy")
    shutil.copytree(world.whole.path, copy.path)
    with pytest.raises(UserError, match="have changed since it began"):
        loop.train(copy, {**world.prepared.datasets, "train": world.prepared.datasets["train"].subset([0, 1, 2])})


@pytest.mark.parametrize(
    ("split", "said"), [("train", "its training labels"), ("val", "its validation images, labels or embeddings")]
)
def test_changed_labels_are_not_resumed(world: World, tmp_path: Path, split: str, said: str) -> None:
    copy = replace(world.whole, path=tmp_path / "copy")
    shutil.copytree(world.whole.path, copy.path)
    root = tmp_path / "data"
    shutil.copytree(world.config.data.root, root)
    label = sorted((root / split / "label").iterdir())[0]
    Image.fromarray(np.asarray(Image.open(label))[::-1]).save(label)
    changed = prepare(replace(world.config, data=replace(world.config.data, root=str(root))))
    with pytest.raises(UserError, match=f"{said} have changed since it began"):
        go(copy, changed)


def test_a_checkpoint_without_a_digest_of_the_labels_is_resumed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path / "run", world.config, world.prepared.encoder)
    made = loop.Training._record
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_record", lambda self: replace(made(self), labels=None, validation=None))
        at_step(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            go(run, world.prepared)
    assert go(run, world.prepared).labels == world.prepared.datasets["train"].label_digest()


def test_the_best_checkpoint_survives_reopening_and_is_the_best(world: World) -> None:
    dices = {m["step"]: m["dice"] for m in measurements(world.whole) if m["kind"] == "val"}
    for _ in range(2):
        checkpoints = Checkpoints(world.whole.path)
        _, meta = checkpoints.restore_best(world.config)
        checkpoints.close()
        assert dices[meta["step"]] == max(dices.values())


def flip_a_byte(checkpoint: Path) -> None:
    files = [p for p in checkpoint.rglob("*") if p.is_file() and "ema" in p.parts]
    largest = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def copied(world: World, path: Path) -> Run:
    shutil.copytree(world.whole.path, path)
    return replace(world.whole, path=path)


@pytest.mark.parametrize("loss", [flip_a_byte, shutil.rmtree])
def test_without_the_latest_checkpoint_the_one_before_is_continued(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: Callable[[Path], None]
) -> None:
    run = copied(world, tmp_path / "run")
    loss(run.path / "checkpoints" / "latest" / "12")
    go(run, world.prepared)
    told = capsys.readouterr().out
    assert f"continuing {run.path} from step 9 of 12" in told
    assert (f"{run.path}/checkpoints/latest/12: is damaged (" in told) == (loss is not shutil.rmtree)
    assert_as_uninterrupted(run, world)


def test_a_run_whose_latest_checkpoints_are_gone_says_that_it_begins_again(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(world, tmp_path / "run")
    shutil.rmtree(run.path / "checkpoints" / "latest")
    with closing(Checkpoints(run.path)) as checkpoints:
        assert loop.Training(run, world.prepared.datasets, checkpoints, StopRequest()).step == 0
    assert f"{run.path}: has no latest checkpoint; the training begins again at step 0" in capsys.readouterr().out


def test_without_any_latest_checkpoint_nothing_is_begun_again(world: World, tmp_path: Path) -> None:
    run = copied(world, tmp_path / "run")
    for step in (9, 12):
        flip_a_byte(run.path / "checkpoints" / "latest" / str(step))
    with pytest.raises(UserError, match=r"latest/9: is damaged .*none before it; remove .*checkpoints to begin again"):
        go(run, world.prepared)
    assert Checkpoints(run.path).steps("latest") == [9, 12]


def judged(run: Run, best: dict[int, float]) -> None:
    """Gives a finished run other best checkpoints: the Dice of each by its step, ascending."""
    checkpoints = Checkpoints(run.path)
    like = init_state(run.config, init_params(run.config), 12)
    state, record = checkpoints.restore_state(12, run.config, like)
    checkpoints.forget_after("best", -1)
    for step, dice in best.items():
        record |= {"best_step": step, "best_dice": dice}
        checkpoints.save("best", replace(state, step=np.int32(step)), run.config, record)
    checkpoints.save("latest", state, run.config, record, overwrite=True)
    checkpoints.close()


@pytest.mark.parametrize(
    ("best", "chosen", "told"),
    [
        ({4: 0.1, 12: 0.7}, 12, "best/12: is damaged .* it is made anew from the latest checkpoint"),
        ({4: 0.9, 8: 1.0}, 4, "best/8: is damaged .* the best of what is left is step 4, with a Dice of 0.9000"),
        ({4: -1.0, 8: 1.0}, 12, "best/8: is damaged .* the best of what is left is step 12"),
    ],
)
def test_a_lost_best_checkpoint_is_replaced_by_the_best_of_what_is_left(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    best: dict[int, float],
    chosen: int,
    told: str,
) -> None:
    run = copied(world, tmp_path / "run")
    judged(run, best)
    before = measurements(run)
    flip_a_byte(run.path / "checkpoints" / "best" / str(max(best)))
    record = go(run, world.prepared)
    assert re.search(told, capsys.readouterr().out)
    assert record.best_step == chosen and measurements(run) == before
    checkpoints = Checkpoints(run.path, read_only=True)
    params, meta = checkpoints.restore_best(run.config)
    assert (meta["step"], meta["record"]["best_dice"]) == (chosen, record.best_dice)
    np.testing.assert_array_equal(Layout(params).ravel_host(params), np.asarray(final_state(run).ema))
    dices = {m["step"]: m["dice"] for m in before if m["kind"] == "val"}
    assert record.best_dice == {**best, 12: best.get(12, dices[12])}[chosen]
    go(run, world.prepared)
    assert "damaged" not in capsys.readouterr().out


def test_a_best_checkpoint_found_between_validations_is_kept(world: World, tmp_path: Path) -> None:
    run = copied(world, tmp_path / "run")
    judged(run, {12: 0.7})
    checkpoints = Checkpoints(run.path)
    state, record = checkpoints.restore_state(12, run.config, init_state(run.config, init_params(run.config), 12))
    checkpoints.save("latest", state, run.config, record | {"validated": 8}, overwrite=True)
    checkpoints.close()
    with closing(Checkpoints(run.path)) as checkpoints:
        loop.Training(run, world.prepared.datasets, checkpoints, StopRequest())
        assert checkpoints.best_problem() is None


def test_a_checkpoint_of_another_config_is_an_error_that_names_the_field(world: World) -> None:
    fewer = replace(world.config.model.film, stages=())
    other = replace(world.config, model=replace(world.config.model, film=fewer))
    with pytest.raises(UserError, match=r"model\.film\.stages: \(0,\) != \(\)"):
        Checkpoints(world.whole.path).restore_best(other)


def test_losses_that_stay_non_finite_stop_the_run(world: World, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", world.config, world.prepared.encoder)
    broken = {
        split: dataset.with_embeddings(np.full_like(dataset.embeddings(), np.nan))
        for split, dataset in world.prepared.datasets.items()
    }
    with pytest.raises(UserError, match=r"not finite for 2 steps in a row.*optim\.lr"):
        loop.train(run, broken)
