"""Weights & Biases as a tracker: without network, in files of the run's folder, unless WANDB_MODE says otherwise."""

import itertools
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from flowseg.runs.folder import Run
from flowseg.runs.trackers import Point, title_of

PROJECT = "flowseg"
"""Holds the runs, unless WANDB_PROJECT names another project."""


class WandbTracker:
    """A run in Weights & Biases.

    Weights & Biases cannot continue a run without its server. Each start therefore writes a folder with all points of
    the run so far, which replaces that of the start before.

    Args:
        run: flowseg's run.
        kept: `identity` of an earlier start; None makes a new run.
    """

    def __init__(self, run: Run, kept: dict[str, str] | None):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nobody was asked
        import wandb

        self.identity = {"run": kept["run"] if kept else secrets.token_hex(4)}
        folder = run.path.absolute()
        earlier = list((folder / "wandb").glob(f"offline-run-*-{self.identity['run']}"))
        # Only what flowseg gives is recorded: not its output, which it would redirect, nor the machine and its source.
        only = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.identity["run"],
            name=title_of(run),
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            config=asdict(run.config),
            settings=only,
        )
        self._from = self._run.step
        """The first step that is not on the server yet; 0 without one."""
        for old in earlier:
            if old != Path(self._run.dir).parent:  # two starts within one second share a folder
                shutil.rmtree(old)

    def show(self, points: Sequence[Point]) -> None:
        """Writes points; those of curves that the server has already are left out. Scores go into the summary."""
        for step, group in itertools.groupby(points, lambda point: point.step):
            values = {name: value for name, _, value in group}
            if step is None:
                self._run.summary.update(values)
            elif step >= self._from:
                self._run.log(values, step=step)

    def picture(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Does nothing: this may be uploaded, and images are of patients. The run's folder has the pictures."""

    def close(self, finished: bool) -> None:
        """Closes the files, or waits until the server has everything."""
        self._run.finish(exit_code=0 if finished else 1)
