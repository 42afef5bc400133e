"""MLflow as a tracker: a database file on this machine, or the server that MLFLOW_TRACKING_URI names."""

import os
import time
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from flowseg.config_values import flat
from flowseg.runs.folder import Run
from flowseg.runs.trackers import Point, title_of

EXPERIMENT = "flowseg"
"""Holds the runs, unless MLFLOW_EXPERIMENT_NAME names another experiment."""
_PERIOD = 5.0
"""Seconds between writes: each is a transaction, which takes as long as a step does on a GPU."""
_BATCH = 1000
"""The most points that MLflow takes at once."""


class MlflowTracker:
    """A run in MLflow.

    What a killed process has not written yet is written by the next start.

    Args:
        run: flowseg's run.
        kept: `identity` of an earlier start; None makes a new MLflow run.
    """

    def __init__(self, run: Run, kept: dict[str, str] | None):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody was asked
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by default a dead server costs minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        import mlflow

        store = kept["store"] if kept else mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(store)
        if kept:
            self._run = kept["run"]
            self._client.update_run(self._run, status="RUNNING")
        else:
            self._run = self._new(run)
        self.identity = {"store": store, "run": self._run}
        self._values = self._client.get_run(self._run).data.metrics
        """The last value of each curve, and the scores."""
        self._held = {name: self._last(name) for name in self._values}
        """The last step of each curve; until it, MLflow has the points of earlier starts."""
        self._waiting: list[Point] = []
        self._written = time.monotonic()

    def _new(self, run: Run) -> str:
        """Makes an MLflow run with the config as its parameters, and returns its identity."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        made = self._client.create_run(experiment, run_name=title_of(run)).info.run_id
        self._client.set_tag(made, "flowseg.run", str(run.path.absolute()))
        self._client.log_batch(made, params=[Param(key, str(value)) for key, value in flat(run.config).items()])
        return str(made)

    def _last(self, name: str) -> int:
        return max(point.step for point in self._client.get_metric_history(self._run, name))

    def show(self, points: Sequence[Point]) -> None:
        """Writes points; those that MLflow has already are left out."""
        self._waiting += [point for point in points if not self._has(point)]
        if time.monotonic() - self._written > _PERIOD:
            self._write()

    def _has(self, point: Point) -> bool:
        """Returns whether MLflow has a point from an earlier start."""
        if point.step is None:
            return self._values.get(point.name) == point.value
        return point.step <= self._held.get(point.name, -1)

    def picture(self, name: str, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Does nothing: others may read the store, and images are of patients. The run's folder has the pictures."""

    def close(self, finished: bool) -> None:
        """Writes what is left, and the run's status."""
        self._write()
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def _write(self) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for first in range(0, len(self._waiting), _BATCH):
            batch = self._waiting[first : first + _BATCH]
            self._client.log_batch(self._run, [Metric(name, value, now, step or 0) for name, step, value in batch])
        self._waiting.clear()
        self._written = time.monotonic()
