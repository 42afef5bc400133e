"""The options by which a command shares its work out over a Ray cluster."""

from dataclasses import dataclass
from typing import Annotated, Any

from flowseg.bounds import Count, Natural, at_most
from flowseg.commands.parsing import default_is
from flowseg.errors import UserError

Cpus = Annotated[Count, at_most(4096, "no node has more")]
Gpus = Annotated[Natural, at_most(64, "no node has more")]


@dataclass(frozen=True, kw_only=True)
class OnCluster:
    """Options of a command that can share its work out over a Ray cluster."""

    cluster: Annotated[str | None, default_is("without a cluster")] = None
    """Share the work out over a Ray cluster (docs/cluster.md). local: this machine; auto: the cluster that it is a
    node of; HOST:PORT: the cluster with its head there."""
    gpus_each: Annotated[Gpus | None, default_is("1 where the cluster has GPUs, else 0")] = None
    """With --cluster: GPUs of each task."""
    cpus_each: Annotated[Cpus | None, default_is("1 beside a GPU, else an equal part of all")] = None
    """With --cluster: cores of each task."""


def check_cluster_options(asked: OnCluster) -> None:
    """Raises a UserError if resources are asked for without a cluster."""
    for option, value in (("--gpus-each", asked.gpus_each), ("--cpus-each", asked.cpus_each)):
        if asked.cluster is None and value is not None:
            raise UserError(f"{option}: is for work on a cluster; give --cluster, too, or leave it out")


def as_options(values: Any) -> list[str]:
    """Returns the options that set the fields of a dataclass to its values; None is left out."""
    options: list[str] = []
    for name, value in vars(values).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            options += [f"--{option}", str(value)]
    return options
