"""What a checkpoint gives back, and what it refuses."""

import asyncio
import errno
import gc
import json
import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from refusals import refusal

from flowseg.config import Config
from flowseg.errors import UserError
from flowseg.models.network import Params, init_params
from flowseg.runs.checkpoints import Checkpoints, description_digest
from flowseg.runs.folder import create_run
from flowseg.training.state import TrainState, init_state


def state_of(config: Config) -> TrainState:
    """A state in which every number differs, in the middle of an accumulation."""
    state = init_state(config, init_params(config), 10)
    leaves, structure = jax.tree.flatten(state)
    rng = np.random.default_rng(0)
    made = [np.asarray(rng.integers(1, 100, leaf.shape)).astype(leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(structure, made)


@pytest.fixture
def accumulating(tiny_config: Config) -> Config:
    return replace(tiny_config, optim=replace(tiny_config.optim, accumulate=2))


def test_round_trip_in_the_middle_of_an_accumulation(accumulating: Config, tmp_path: Path) -> None:
    saved = state_of(accumulating)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", saved, accumulating, {"note": 1})
    checkpoints.close()
    like = init_state(accumulating, init_params(accumulating), 10)
    restored, record = Checkpoints(tmp_path).restore_state(int(saved.step), accumulating, like)
    assert record == {"note": 1} and restored.gradient is not None
    jax.tree.map(np.testing.assert_array_equal, restored, saved)


def test_a_save_does_not_tell_jax_at_which_step_the_process_is(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr("jax.experimental.multihost_utils.reached_preemption_sync_point", told.append)
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save("latest", state_of(tiny_config), tiny_config, {})
    assert len(checkpoints.steps("latest")) == 1 and told == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda meta: meta.update(format=1), "saved by another version of flowseg"),
        (lambda meta: meta["layout"].update(surplus=[3]), "holds surplus, which this network does not have"),
        (lambda meta: meta.update(layout=dict(reversed(meta["layout"].items()))), "parameters in another order"),
    ],
)
def test_another_layout_is_refused(accumulating: Config, tmp_path: Path, change: object, told: str) -> None:
    assert callable(change)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("best", state_of(accumulating), accumulating, {})
    checkpoints.close()
    (file,) = (tmp_path / "checkpoints" / "best").rglob("meta/metadata")
    meta = json.loads(file.read_text())
    change(meta)
    meta["digest"] = description_digest(meta)
    file.write_text(json.dumps(meta))
    with pytest.raises(UserError, match=told):
        Checkpoints(tmp_path).restore_best(accumulating)


def best_of(run: Path, config: Config) -> tuple[Params, dict]:
    """What evaluation gets of a run."""
    with closing(Checkpoints(run, read_only=True)) as checkpoints:
        return checkpoints.restore_best(config)


SIGNS = ["[", "]", "*", "?", "\\", "\udcff"]


@pytest.mark.parametrize("sign", SIGNS)
def test_a_path_that_orbax_cannot_write_is_refused_before_anything_is_written(tmp_path: Path, sign: str) -> None:
    for path in (tmp_path / f"a{sign}b", tmp_path / f"a{sign}b" / "run"):
        assert "checkpoints cannot be written below a path " in refusal(
            lambda path=path: create_run(path, Config(), None)
        )
        assert "cannot be written" in refusal(lambda path=path: Checkpoints(path))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def saved(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints `latest` and `best` of one step."""
    path = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(path)
    state = state_of(tiny_config)
    for kind in ("latest", "best"):
        checkpoints.save(kind, state, tiny_config, {"best_dice": 0.5, "best_step": int(state.step)})
    checkpoints.close()
    return path


@pytest.mark.parametrize("name", ["a b", "한é", "'\"", "{a,b}", "%5B", "a:", "-x", "$HOME", "~", "#<>|&;", *SIGNS])
def test_a_renamed_run_is_read_as_saved_or_refused(
    saved: Path, tiny_config: Config, tmp_path: Path, name: str
) -> None:
    shutil.copytree(saved, tmp_path / name)
    if name in ("\\", "\udcff"):
        assert "cannot be read below" in refusal(lambda: Checkpoints(tmp_path / name, read_only=True))
        return
    with closing(Checkpoints(tmp_path / name, read_only=True)) as checkpoints:
        assert checkpoints.best_problem() is None


@pytest.mark.parametrize("name", ["a b", "한é", "'\"", "{a,b}", "%5B", "a:", "-x", "$HOME", "~", "#<>|&;", "\n"])
def test_a_path_that_is_not_refused_holds_checkpoints(tiny_config: Config, tmp_path: Path, name: str) -> None:
    checkpoints = Checkpoints(tmp_path / name)
    checkpoints.save("best", state_of(tiny_config), tiny_config, {})
    checkpoints.close()
    with closing(Checkpoints(tmp_path / name, read_only=True)) as checkpoints:
        assert checkpoints.best_problem() is None


def test_a_place_that_loses_a_checkpoint_is_found_at_the_first_save(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = ocp.CheckpointManager.save

    def lossy(manager: ocp.CheckpointManager, step: int, **more: object) -> None:
        save(manager, step, **more)
        manager.wait_until_finished()
        shutil.rmtree(tmp_path / "checkpoints" / "latest" / str(step) / "rest" / "d")

    monkeypatch.setattr(ocp.CheckpointManager, "save", lossy)
    message = refusal(lambda: Checkpoints(tmp_path).save("latest", state_of(tiny_config), tiny_config, {}))
    assert "is damaged" in message and "though it was saved just now; choose another --out" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["record"].update(best_dice=0.9),
        lambda meta: meta["config"].update(seed=7),
        lambda meta: meta.update(step=3),
        lambda meta: meta.pop("digest"),
        lambda meta: meta.pop("record"),
    ],
)
def test_a_changed_description_is_not_believed(
    saved: Path, tiny_config: Config, tmp_path: Path, change: Callable[[dict], object]
) -> None:
    shutil.copytree(saved, tmp_path / "run")
    for file in (tmp_path / "run" / "checkpoints").rglob("meta/metadata"):
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))
    message = refusal(lambda: best_of(tmp_path / "run", tiny_config))
    assert "/best/" in message and "is damaged" in message


def test_a_checkpoint_of_the_format_before_is_read_with_a_note(
    saved: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(saved, tmp_path / "run")
    (file,) = (tmp_path / "run" / "checkpoints" / "best").rglob("meta/metadata")
    meta = json.loads(file.read_text())
    del meta["digest"]
    file.write_text(json.dumps({**meta, "format": 2}))
    best_of(tmp_path / "run", tiny_config)
    assert "is of an older flowseg: its Dice and step are not verified" in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["damaged", "missing"])
def test_latest_stands_in_for_a_lost_best_of_the_same_step_only(
    saved: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    whole, _ = best_of(run, tiny_config)
    (best,) = (run / "checkpoints" / "best").iterdir()
    shutil.rmtree(best / "ema" if loss == "damaged" else best)
    params, _ = best_of(run, tiny_config)
    jax.tree.map(np.testing.assert_array_equal, params, whole)
    told = capsys.readouterr().out
    assert f"WARNING: {best}: is {loss}" in told and f"latest/{best.name} is the same step and stands in" in told

    # An older one is never taken silently.
    state = state_of(tiny_config)
    checkpoints = Checkpoints(run)
    checkpoints.save("best", replace(state, step=np.int32(1)), tiny_config, {"best_dice": 0.4, "best_step": 1})
    checkpoints.save("latest", replace(state, step=np.int32(99)), tiny_config, {"best_step": int(best.name)})
    checkpoints.close()
    shutil.rmtree(run / "checkpoints" / "latest" / best.name)
    message = refusal(lambda: best_of(run, tiny_config))
    assert f"{best}: is " in message and f"--resume {run}" in message


def test_errors_of_reads_beside_the_one_that_is_raised_are_not_logged(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("damaged")

    async def read_two() -> None:
        tasks = [asyncio.create_task(fail()) for _ in range(2)]
        with pytest.raises(ValueError):
            await asyncio.gather(*tasks)
        await asyncio.wait([asyncio.create_task(fail())])

    logging.getLogger("asyncio").setLevel(logging.NOTSET)
    with closing(Checkpoints(saved, read_only=True)):
        asyncio.run(read_two())
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_damage_to_any_file_is_a_problem_in_one_line_or_none_at_all(saved: Path, tmp_path: Path) -> None:
    """Some files are not needed; whatever else is lost is noticed, and never an error of another kind."""
    noticed = set()
    step = next((saved / "checkpoints" / "best").iterdir()).name
    shutil.copytree(saved, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best" / step
    for file in sorted(path for path in best.rglob("*") if path.is_file()):
        content = file.read_bytes()
        for damage in (b"", content[: len(content) // 2], b"\0" * len(content)):
            file.write_bytes(damage)
            with closing(Checkpoints(tmp_path / "run", read_only=True)) as checkpoints:
                problem = checkpoints.problem("best", int(step))
            if problem is not None:
                assert f"{best}: is damaged (" in problem and "\n" not in problem
                noticed.add("/".join(file.relative_to(best).parts[:2]))
        file.write_bytes(content)
    assert noticed >= {"ema/manifest.ocdbt", "ema/d", "rest/manifest.ocdbt", "rest/d", "meta/metadata"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left"),
        ValueError("RESOURCE_EXHAUSTED:\n" + "a long path" * 50 + ": No space left [os_error_code='28']"),
    ],
)
def test_a_full_disk_is_one_line_and_earlier_checkpoints_stay(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save("latest", replace(state_of(tiny_config), step=np.int32(1)), tiny_config, {})
        monkeypatch.setattr(ocp.CheckpointManager, "save", full)
        message = refusal(lambda: checkpoints.save("latest", state_of(tiny_config), tiny_config, {}))
        assert f"{tmp_path}/checkpoints/latest: a checkpoint cannot be written (" in message
        assert "No space left" in message and "--resume" in message
        assert checkpoints.steps("latest") == [1] and checkpoints.problem("latest", 1) is None
        monkeypatch.undo()
        with monkeypatch.context() as while_closing:
            while_closing.setattr(ocp.CheckpointManager, "close", full)
            assert "No space left" in refusal(checkpoints.close)
