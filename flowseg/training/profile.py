"""A trace of a few training steps, by JAX's profiler."""

from pathlib import Path

import jax

from flowseg.progress import console

WAIT = 5
"""Steps before the trace begins: the first are slow."""
STEPS = 5


class StepTrace:
    """Traces `STEPS` steps into a folder, which TensorBoard (plugin `profile`), XProf and Perfetto read."""

    def __init__(self, folder: Path, first: int):
        """`first` is the step that this process begins at."""
        self._folder, self._begin = folder, first + WAIT
        self._running = False

    def before(self, step: int) -> None:
        """Begins or ends the trace if it is due before this step."""
        if step == self._begin:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        elif step == self._begin + STEPS:
            self.close()

    def close(self) -> None:
        """Ends the trace if it is running, and writes it."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            console.print(f"a trace of the steps from {self._begin} on is in {self._folder}")
