"""Orbax checkpoints: the latest state, and the best by validation Dice.

A checkpoint holds the whole training state, its config, the loop's record, the names and shapes of the parameters
(which are stored as one vector) and a digest of every part. A byte that changed on disk, or a config that differs, is
an error: a wrong network is never restored silently.
"""

import hashlib
import json
import logging
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from flowseg.config import Config, differences, saved_config
from flowseg.errors import UserError
from flowseg.models.network import Params, abstract_params
from flowseg.models.vector import Layout

Flat = dict[str, np.ndarray]
FORMAT = 2
_PARTS = ("ema", "rest")
_KEEP = 2


def _flatten(tree: Any) -> Flat:
    # np.array copies: the step donates these buffers while Orbax still writes.
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def _unflatten(flat: Flat, like: Any, where: str) -> Any:
    """Returns the tree `like` with the arrays of `flat`; both must have the same names, shapes and dtypes."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    expected = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, (_, leaf) in zip(names, paths, strict=True)}
    _check_names({name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in flat.items()}, expected, where)
    return jax.tree_util.tree_unflatten(structure, [flat[name] for name in names])


def _check_names(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Raises a UserError that names the first entry that is not as expected."""
    for name, what in expected.items():
        if found.get(name) != what:
            raise UserError(
                f"{where}: holds {found.get(name, 'nothing')} for {name}, expected {what}: "
                "it belongs to another network; use the config it was saved with"
            )
    surplus = sorted(set(found) - set(expected))
    if surplus:
        raise UserError(f"{where}: holds {surplus[0]}, which this network does not have; use its own config")


def _digest(flat: Flat) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(flat):
        digest.update(f"{name}{flat[name].dtype}{flat[name].shape}".encode())
        digest.update(np.ascontiguousarray(flat[name]).tobytes())
    return digest.hexdigest()


@cache
def _layout(config: Config) -> dict[str, list[int]]:
    """Returns names and shapes of the parameters in the order of the vectors."""
    return {name: list(shape) for name, shape in Layout(abstract_params(config)).shapes.items()}


def _rest(state: Any) -> dict[str, Any]:
    """Returns all of a training state but the averaged parameters, which evaluation reads alone."""
    return {field.name: getattr(state, field.name) for field in fields(state) if field.name != "ema"}


class Checkpoints:
    """The checkpoints of one run, under RUN/checkpoints/{latest,best}/STEP."""

    def __init__(self, run: Path):
        # Orbax logs every save; users read the progress bar instead.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.folder = (run / "checkpoints").absolute()
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def _manager(self, kind: str) -> ocp.CheckpointManager:
        if kind not in self._managers:
            options = ocp.CheckpointManagerOptions(max_to_keep=_KEEP, create=True)
            self._managers[kind] = ocp.CheckpointManager(self.folder / kind, options=options)
        return self._managers[kind]

    def steps(self, kind: str) -> list[int]:
        """Returns the steps that have a complete checkpoint of this kind, ascending."""
        if not (self.folder / kind).is_dir():
            return []
        return sorted(self._manager(kind).all_steps(read=True))

    def save(self, kind: str, state: Any, config: Config, record: dict[str, Any]) -> None:
        """Saves a training state (a dataclass with `step` and `ema`) in the background, with the loop's record."""
        parts = {"ema": _flatten({"ema": state.ema}), "rest": _flatten(_rest(state))}
        step = int(parts["rest"]["step"])
        if step in self._manager(kind).all_steps():
            return
        meta = {
            "format": FORMAT,
            "step": step,
            "config": json.loads(json.dumps(asdict(config))),
            "record": record,
            "layout": _layout(config),
            "digests": {name: _digest(part) for name, part in parts.items()},
        }
        items: dict[str, Any] = {name: ocp.args.StandardSave(part) for name, part in parts.items()}
        self._manager(kind).save(step, args=ocp.args.Composite(**items, meta=ocp.args.JsonSave(meta)))

    def forget_after(self, kind: str, step: int) -> None:
        """Removes checkpoints after `step`, which a resumed run makes again."""
        for later in self.steps(kind):
            if later > step:
                self._manager(kind).delete(later)

    def meta(self, kind: str, step: int) -> dict[str, Any]:
        """Returns a checkpoint's description: step, config, record."""
        where = self.folder / kind / str(step)
        try:
            restored = self._manager(kind).restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
            meta = restored["meta"]
            if meta["format"] != FORMAT:
                raise UserError(
                    f"{where}: was saved by another version of flowseg (format {meta['format']}, this one reads "
                    f"{FORMAT}); use that version, or train again"
                )
            return meta
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{where}: is damaged ({_one_line(error)}); remove this folder") from None

    def _parts(self, kind: str, step: int, names: tuple[str, ...]) -> dict[str, Flat]:
        where = self.folder / kind / str(step)
        meta = self.meta(kind, step)
        wanted: dict[str, Any] = {name: ocp.args.StandardRestore() for name in names}
        try:
            restored = self._manager(kind).restore(step, args=ocp.args.Composite(**wanted))
        except Exception as error:  # Orbax and TensorStore raise many kinds; each means an unreadable file.
            raise UserError(f"{where}: is damaged ({_one_line(error)}); remove this folder") from None
        parts = {name: {k: np.asarray(v) for k, v in restored[name].items()} for name in names}
        for name, part in parts.items():
            if _digest(part) != meta["digests"][name]:
                raise UserError(f"{where}: is damaged (its {name} do not match their digest); remove this folder")
        return parts

    def check_config(self, kind: str, step: int, config: Config) -> None:
        """Raises a UserError that names the first field in which the checkpoint's config differs."""
        differing = differences(saved_config(self.meta(kind, step)["config"]), config)
        if differing:
            more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
            raise UserError(
                f"{self.folder / kind / str(step)}: was saved with another config: {differing[0]}{more}; "
                "use its own config or another run"
            )

    def _checked(self, kind: str, step: int, config: Config) -> dict[str, Any]:
        """Returns the description of a checkpoint, checked against the config and the network made from it."""
        self.check_config(kind, step, config)
        meta = self.meta(kind, step)
        where = str(self.folder / kind / str(step))
        _check_names(meta["layout"], _layout(config), where)
        if list(meta["layout"]) != list(_layout(config)):
            raise UserError(f"{where}: has its parameters in another order; restore it with the flowseg that saved it")
        return meta

    def restore_state(self, step: int, config: Config, like: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the training state of a step and the loop's record; `like` is a state of the expected shapes."""
        meta = self._checked("latest", step, config)
        parts = self._parts("latest", step, _PARTS)
        where = str(self.folder / "latest" / str(step))
        ema = _unflatten(parts["ema"], {"ema": like.ema}, where)
        rest = _unflatten(parts["rest"], _rest(like), where)
        return replace(like, **ema, **rest), meta["record"]

    def restore_best(self, config: Config) -> tuple[Params, dict[str, Any]]:
        """Returns the averaged parameters of the best checkpoint, a tree of numpy arrays, and its description."""
        steps = self.steps("best")
        if not steps:
            raise UserError(
                f"{self.folder.parent}: has no best checkpoint yet; it comes with the first validation: "
                "let the training go on with --resume"
            )
        meta = self._checked("best", steps[-1], config)
        layout = Layout(abstract_params(config))
        expected = {"ema": jax.ShapeDtypeStruct((layout.size,), np.float32)}
        flat = self._parts("best", steps[-1], ("ema",))["ema"]
        vector = _unflatten(flat, expected, str(self.folder / "best" / str(steps[-1])))["ema"]
        return layout.unravel_host(vector), meta

    def close(self) -> None:
        """Waits until all saves are finished."""
        for manager in self._managers.values():
            manager.wait_until_finished()
            manager.close()
        self._managers = {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
