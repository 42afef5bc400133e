"""`flowseg experiment --cluster`: its trainings side by side on a Ray cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flowseg.cluster.connection import Cluster, connected
from flowseg.cluster.folder import Seen, SharedFolder
from flowseg.cluster.pieces import Piece, run_pieces
from flowseg.cluster.worker import Each
from flowseg.errors import counted
from flowseg.progress import console
from flowseg.runs.folder import DONE_FILE
from flowseg.runs.follow import Follower

if TYPE_CHECKING:
    from flowseg.commands.experiment import Experiment, Job
    from flowseg.commands.train import Preset


@dataclass(frozen=True)
class Opened:
    """A cluster that is ready for the trainings of an experiment."""

    cluster: Cluster
    shared: SharedFolder
    each: Each

    def precision(self) -> str:
        """Returns what `precision = auto` means on its workers; one with a GPU is asked, once it is free."""
        return self.cluster.ask(auto_precision, self.each) if self.each.gpus else "float32"

    def preset(self, asked: "Preset") -> "Preset":
        """Returns the preset that a training has there: `auto` depends on whether it gets a GPU."""
        return asked if asked != "auto" else "full" if self.each.gpus else "cpu"

    def run(self, jobs: "list[Job]") -> None:
        """Runs commands of the experiment side by side."""
        pieces = []
        for job in jobs:
            # The folders of runs are unique, and short as they stand in OUT.
            name = "/".join((job.training.folder if job.training else Path(job.arguments[0])).parts[-2:])
            look = (
                partial(_look, Follower(job.training.folder), job.training.config.train.epochs)
                if job.training
                else None
            )
            result = job.training.folder / DONE_FILE if job.training else None
            pieces.append(Piece(name, [job.command, *job.arguments], look, result))
        run_pieces(
            self.cluster, self.shared, pieces, self.each, "trainings" if jobs and jobs[0].training else "scorings"
        )


@contextmanager
def opened(asked: "Experiment") -> Iterator[Opened]:
    """Connects to the cluster that is asked for; afterwards the folder that the pieces share is removed.

    It stays after an error: it holds what the pieces have printed.

    Raises:
        UserError: there is no such cluster, or its nodes cannot do the work.
    """
    import jax

    runs = len(asked.configs) * len(asked.seeds) * (asked.folds or 1)
    assert asked.cluster is not None
    shared = SharedFolder.inside(asked.out)
    with connected(asked.cluster) as cluster, shared.claimed():
        each = cluster.share(runs, asked.cpus_each, asked.gpus_each)
        cluster.check(shared)
        # The GPUs of this machine are for the trainings.
        jax.config.update("jax_platforms", "cpu")
        console.print(
            f"cluster {cluster.address}: {counted(len(cluster.nodes()), 'node')}; "
            f"{counted(cluster.at_once(each), 'training')} at a time, each with {each}"
        )
        yield Opened(cluster, shared, each)
        shared.remove()


def _look(follower: Follower, epochs: int) -> Seen | None:
    """Returns how far a training of so many epochs is."""
    follower.look()
    if not follower.epoch:
        return None
    total = round(follower.step / follower.epoch * epochs)
    dice = "" if follower.dice is None else f"Dice {follower.dice:.4f}"
    return Seen(follower.step, total, dice)


def auto_precision() -> str:
    """Returns the precision that a training with `precision = auto` has on this worker's device."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from flowseg.models.kernels import has_half_precision

    return "bf16" if has_half_precision(jax.devices()[0]) else "float32"
