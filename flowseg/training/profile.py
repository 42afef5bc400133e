"""A trace of a few training steps, by JAX's profiler."""

from pathlib import Path

import jax

from flowseg.progress import console

WAIT = 5
"""Steps before the trace begins, if there are more: the first are slow."""
STEPS = 5


class StepTrace:
    """Traces `STEPS` steps into a folder, which TensorBoard (plugin `profile`), XProf and Perfetto read."""

    def __init__(self, folder: Path, first: int, total: int):
        """`first` is the step that this process begins at, `total` the number of steps of the whole training."""
        self._folder, self._first, self._begin = folder, first, min(first + WAIT, total - 1)
        self._running = self._written = False

    def before(self, step: int) -> None:
        """Begins or ends the trace if it is due before this step."""
        if step == self._begin:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        elif step == self._begin + STEPS:
            self.close()

    def close(self) -> None:
        """Ends the trace if it is running, and writes it; says so if there is none."""
        if self._running:
            self._running, self._written = False, True
            jax.profiler.stop_trace()
            console.print(f"a trace of the steps from {self._begin} on is in {self._folder}")
        elif not self._written:
            why = f"ended before step {self._begin}" if self._first <= self._begin else "had no step left"
            console.print(f"--profile: no trace is written, because the training {why}")
