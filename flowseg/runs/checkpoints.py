"""Orbax checkpoints: the latest state, and the best by validation Dice.

A checkpoint holds the whole training state and a description: its config, the loop's record, the names and shapes of
the parameters (which are stored as one vector), and digests of every part and of the description itself. A byte that
changed on disk, or a config that differs, is an error: a wrong network is never restored silently.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from flowseg import hosts
from flowseg.config import Config
from flowseg.config_values import differences, saved_config
from flowseg.errors import UserError
from flowseg.models.network import Params, abstract_params
from flowseg.models.vector import Layout
from flowseg.progress import console, warn
from flowseg.runs.flat import Flat, check_names, description_digest, digest, flatten, unflatten
from flowseg.runs.folder import check_place

FORMAT = 3
_WITHOUT_DIGEST = 2
"""An older format, which this version still reads: its description has no digest of its own."""
_PARTS = ("ema", "rest")
_KEEP = 2
_LONGEST = 200  # characters of an error's text


class Damaged(UserError):
    """A checkpoint cannot be read as it was saved."""


@cache
def _hide_closed_loops() -> None:
    """Hides the tracebacks of reads that TensorStore finishes after another read has failed; that one is reported."""
    show = sys.unraisablehook

    def show_others(found: "sys.UnraisableHookArgs") -> None:
        if str(found.exc_value) != "Event loop is closed":
            show(found)

    sys.unraisablehook = show_others


class _Manager(ocp.CheckpointManager):
    """A manager that lets only the training decide when several processes stop, and ends all if one cannot write.

    `reached_preemption` is more than a question: it also tells JAX where the process is, and JAX chooses by that where
    all of them stop. Orbax also asks in the background, with the step that it is writing. One process would stop
    before the others then, and all would hang. Only the training asks (`hosts.stop_reached`).
    """

    def reached_preemption(self, step: int) -> bool:
        return False

    def _wait_for_checkpointers(self) -> None:
        # Runs in a background thread. After an error Orbax would wait up to 20 minutes for the other processes, which
        # wait for this one's files.
        try:
            super()._wait_for_checkpointers()
        except Exception as error:
            if hosts.count() == 1:
                raise
            hosts.end_all(_cannot_be_written(self.directory, error))


@cache
def _layout(config: Config) -> dict[str, list[int]]:
    """Returns names and shapes of the parameters in the order of the vectors."""
    return {name: list(shape) for name, shape in Layout(abstract_params(config)).shapes.items()}


def _rest(state: Any) -> dict[str, Any]:
    """Returns all of a training state but the averaged parameters, which evaluation reads alone."""
    return {field.name: getattr(state, field.name) for field in fields(state) if field.name != "ema"}


class Checkpoints:
    """The checkpoints of one run, under RUN/checkpoints/{latest,best}/STEP.

    With `read_only`, nothing is written: the run may be another process's, or on a disk that cannot be written.

    Of a training on several hosts, every process calls whatever writes, at the same steps; Orbax writes on the first.
    Each reads for itself.

    Raises:
        UserError: Orbax cannot store checkpoints below this path.
    """

    def __init__(self, run: Path, *, read_only: bool = False):
        check_place(run, write=not read_only)
        # Orbax logs every save, and an error beside raising it. Of several arrays that cannot be read it raises one
        # error; asyncio logs the others when they are collected.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _hide_closed_loops()
        self.folder = (run / "checkpoints").absolute()
        self._managers: dict[tuple[str, bool], _Manager] = {}
        self._read_only, self._proved = read_only, False

    def _manager(self, kind: str, *, reading: bool = False) -> _Manager:
        """Returns the manager of a kind. With several processes, the one to read with does not wait for the others."""
        several = hosts.count() > 1
        read_only = self._read_only or (reading and several)
        if (kind, read_only) not in self._managers:
            # Two saves at the same step must not wait at each other's barriers.
            together = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=kind)
            alone = ocp.options.MultiprocessingOptions(primary_host=hosts.index(), active_processes={hosts.index()})
            options = ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else _KEEP,
                create=not read_only,
                cleanup_tmp_directories=not read_only,  # what a killed process has left unfinished
                read_only=read_only,
                multiprocessing_options=alone if read_only and several else together,
            )
            self._managers[kind, read_only] = _Manager(self.folder / kind, options=options)
        return self._managers[kind, read_only]

    def _where(self, kind: str, step: int) -> str:
        return str(self.folder / kind / str(step))

    def steps(self, kind: str) -> list[int]:
        """Returns the steps that have a checkpoint of this kind, ascending; it may be damaged."""
        if not (self.folder / kind).is_dir():
            return []
        return sorted(self._manager(kind, reading=True).all_steps(read=True))

    def save(self, kind: str, state: Any, config: Config, record: dict[str, Any], *, overwrite: bool = False) -> None:
        """Saves a training state (a dataclass with `step` and `ema`) in the background, with the loop's record.

        A checkpoint of the same step stays, unless it is to be overwritten.

        The first one is read again at once, so that a place that loses them is found before the work of days.

        Raises:
            UserError: this checkpoint or an earlier one cannot be written, or not be read again.
        """
        step = int(state.step)
        there = hosts.from_first(step in self._manager(kind).all_steps())
        if there and not overwrite:
            return
        parts = {"ema": flatten({"ema": state.ema}), "rest": flatten(_rest(state))}
        meta = {
            "format": FORMAT,
            "step": step,
            "config": asdict(config),
            "record": record,
            "layout": _layout(config),
            "digests": {name: digest(part) for name, part in parts.items()},
        }
        meta = json.loads(json.dumps(meta))
        meta["digest"] = description_digest(meta)
        items: dict[str, Any] = {name: ocp.args.StandardSave(part) for name, part in parts.items()}
        with self._writing(kind):
            if there:
                self._manager(kind).delete(step)
            args = ocp.args.Composite(**items, meta=ocp.args.JsonSave(meta))
            self._manager(kind).save(step, args=args, force=True)  # else Orbax skips steps before its newest
            if not self._proved:
                self._manager(kind).wait_until_finished()
        if not self._proved and hosts.is_first():
            try:
                self._parts(kind, self.meta(kind, step), _PARTS)
            except Damaged as error:
                raise UserError(f"{error}, though it was saved just now; choose another --out") from None
        self._proved = True

    @contextmanager
    def _writing(self, kind: str) -> Iterator[None]:
        """Turns what Orbax raises into a UserError; TensorStore has a ValueError for a full disk."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise _cannot_be_written(self.folder / kind, error) from None

    def forget_after(self, kind: str, step: int) -> None:
        """Removes checkpoints after `step`, which a resumed run makes again."""
        for later in hosts.from_first(self.steps(kind)):
            if later > step:
                self._manager(kind).delete(later)

    def meta(self, kind: str, step: int) -> dict[str, Any]:
        """Returns a checkpoint's description: step, config, record."""
        where = self._where(kind, step)
        if step not in self.steps(kind):
            raise Damaged(f"{where}: is missing")
        try:
            wanted = ocp.args.Composite(meta=ocp.args.JsonRestore())
            restored = self._manager(kind, reading=True).restore(step, args=wanted)
            meta: dict[str, Any] = restored["meta"]
            if meta["format"] not in (FORMAT, _WITHOUT_DIGEST):
                raise UserError(
                    f"{where}: was saved by another version of flowseg (format {meta['format']}, this one reads "
                    f"{FORMAT}); use that version, or train again"
                )
            whole = meta["step"] == step and meta.keys() >= {"config", "record", "layout", "digests"}
            if not whole or (meta["format"] == FORMAT and meta["digest"] != description_digest(meta)):
                raise Damaged(f"{where}: is damaged (its description does not match its digest or its folder)")
            return meta
        except UserError:
            raise
        except Exception as error:  # Orbax raises many kinds; each means an unreadable file.
            raise Damaged(f"{where}: is damaged ({_one_line(error)})") from None

    def _parts(self, kind: str, meta: dict[str, Any], names: tuple[str, ...]) -> dict[str, Flat]:
        """Returns parts of the checkpoint that has this description, checked by their digests."""
        step = meta["step"]
        where = self._where(kind, step)
        wanted: dict[str, Any] = {name: ocp.args.StandardRestore() for name in names}
        try:
            restored = self._manager(kind, reading=True).restore(step, args=ocp.args.Composite(**wanted))
            parts = {name: {k: np.asarray(v) for k, v in restored[name].items()} for name in names}
            changed = [name for name, part in parts.items() if digest(part) != meta["digests"][name]]
        except Exception as error:  # Orbax and TensorStore raise many kinds; each means an unreadable file.
            raise Damaged(f"{where}: is damaged ({_one_line(error)})") from None
        if changed:
            raise Damaged(f"{where}: is damaged (its {changed[0]} do not match their digest)")
        return parts

    def _checked(self, kind: str, step: int, config: Config) -> dict[str, Any]:
        """Returns the description of a checkpoint, checked against the config and the network made from it."""
        meta = self.meta(kind, step)
        where = self._where(kind, step)
        differing = differences(saved_config(meta["config"]), config)
        if differing:
            more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
            raise UserError(
                f"{where}: was saved with another config: {differing[0]}{more}; use its own config or another run"
            )
        if meta["format"] == _WITHOUT_DIGEST:
            console.print(f"NOTE: {where}: is of an older flowseg: its Dice and step are not verified")
        check_names(meta["layout"], _layout(config), where)
        if list(meta["layout"]) != list(_layout(config)):
            raise UserError(f"{where}: has its parameters in another order; restore it with the flowseg that saved it")
        return meta

    def restore_state(self, step: int, config: Config, like: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the training state of a step and the loop's record; `like` is a state of the expected shapes."""
        meta = self._checked("latest", step, config)
        parts = self._parts("latest", meta, _PARTS)
        where = self._where("latest", step)
        ema = unflatten(parts["ema"], {"ema": like.ema}, where)
        rest = unflatten(parts["rest"], _rest(like), where)
        return replace(like, **ema, **rest), meta["record"]

    def restore_latest(self, config: Config, like: Any) -> tuple[Any, dict[str, Any], int] | None:
        """Returns state, record and step of the newest latest checkpoint that can be read; None if there are none.

        Raises:
            UserError: none can be read, or it belongs to another config.
        """
        steps = self.steps("latest")
        for step in reversed(steps):
            try:
                return *self.restore_state(step, config, like), step
            except Damaged as error:
                damage = error
                warn(f"{damage}; the steps since the checkpoint before it are lost")
        if steps:
            raise UserError(f"{damage}, and there is none before it; remove {self.folder} to begin again at step 0")
        return None

    def problem(self, kind: str, step: int) -> str | None:
        """Returns why a checkpoint cannot be read; None if it can."""
        try:
            self._parts(kind, self.meta(kind, step), _PARTS)
        except Damaged as error:
            return str(error)
        return None

    def best_problem(self) -> str | None:
        """Returns why the best checkpoint cannot be read; None if it can, or if there is none yet."""
        step = self._best_step()
        return None if step is None else self.problem("best", step)

    def _best_step(self) -> int | None:
        """Returns the step of the best checkpoint, be it there or not; None if there is none yet."""
        for step in reversed(self.steps("latest")):
            try:
                recorded = self.meta("latest", step)["record"].get("best_step", -1)
            except Damaged:
                continue
            # It may have been saved just before a kill, and a newer `latest` not any more.
            return max((*self.steps("best"), recorded)) if recorded >= 0 or self.steps("best") else None
        return max(self.steps("best"), default=None)

    def restore_best(self, config: Config) -> tuple[Params, dict[str, Any]]:
        """Returns the averaged parameters of the best checkpoint, a tree of numpy arrays, and its description.

        If it is lost, they are taken from the latest checkpoint of the same step, which is reported.

        Raises:
            UserError: there is none yet, or it is lost and no other checkpoint has its step.
        """
        step = self._best_step()
        if step is None:
            raise UserError(
                f"{self.folder.parent}: has no best checkpoint yet; it comes with the first validation: "
                "let the training go on with --resume"
            )
        try:
            return self._averaged("best", step, config)
        except Damaged as error:
            problem = str(error)
        try:
            found = self._averaged("latest", step, config)
        except Damaged:
            found = None
        if found is None or found[1]["record"].get("best_step") != step:
            raise Damaged(
                f"{problem}; train the run again with --resume {self.folder.parent}: it finds the best of what is left"
            )
        warn(f"{problem}; {self._where('latest', step)} is the same step and stands in for it")
        return found

    def _averaged(self, kind: str, step: int, config: Config) -> tuple[Params, dict[str, Any]]:
        """Returns the averaged parameters of a checkpoint, and its description."""
        meta = self._checked(kind, step, config)
        layout = Layout(abstract_params(config))
        expected = {"ema": jax.ShapeDtypeStruct((layout.size,), np.float32)}
        flat = self._parts(kind, meta, ("ema",))["ema"]
        return layout.unravel_host(unflatten(flat, expected, self._where(kind, step))["ema"]), meta

    def close(self) -> None:
        """Waits until all saves are finished."""
        for (kind, _), manager in self._managers.items():
            with self._writing(kind):
                manager.wait_until_finished()
                manager.close()
        self._managers = {}


def _cannot_be_written(folder: PathLike[str], error: Exception) -> UserError:
    return UserError(
        f"{folder}: a checkpoint cannot be written ({_one_line(error)}); free some space or allow it there, then "
        "continue with --resume; the checkpoints before it are kept"
    )


def _one_line(error: Exception) -> str:
    """Returns an error's text on one short line; TensorStore says the cause last, and then a specification."""
    text = re.sub(r" \[\w+=.*", "", " ".join(str(error).split()))
    return text if len(text) <= _LONGEST else f"{text[:60]} ... {text[60 - _LONGEST :]}"
