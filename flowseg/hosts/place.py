"""Which of the processes of a training this one is: by the command's options, or by what a launcher has set."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flowseg.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of a training."""

    coordinator: str
    """HOST:PORT where process 0 runs."""
    processes: int
    process: int

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Launcher:
    """A program that starts the processes of a job, and the variables in which it says so."""

    name: str
    count: str
    index: str
    others: tuple[str, ...] = ()
    """Variables that are set, too, where it has started this very process."""

    def started(self, environ: Mapping[str, str]) -> bool:
        return all(environ.get(variable) for variable in (self.count, self.index, *self.others))


# In a batch script of Slurm there is no step: the script itself is no process of the training.
SLURM = Launcher("Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", ("SLURM_STEP_NODELIST", "SLURM_JOB_ID"))
OPEN_MPI = Launcher("Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"
"""A Kubernetes job that is indexed sets this; how many processes there are and where the first one is, it does not."""


def find_place(
    coordinator: str | None, processes: int | None, process_id: int | None, environ: Mapping[str, str]
) -> Place | None:
    """Returns this process's place; None if it trains alone.

    Args:
        coordinator, processes, process_id: the command's options.
        environ: the environment variables.

    Raises:
        UserError: an option is missing, is out of range, or contradicts the launcher.
    """
    if processes == 1 and coordinator is None and process_id in (None, 0):
        return None  # one of several independent trainings, whatever has started it
    # mpirun starts its processes through a step of Slurm, whose variables they inherit.
    launcher = next((one for one in (OPEN_MPI, SLURM) if one.started(environ)), None)
    options = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    given = [name for name, value in options.items() if value is not None]
    if launcher is not None:
        processes = _same("--processes", processes, launcher, launcher.count, environ)
        process_id = _same("--process-id", process_id, launcher, launcher.index, environ)
        if processes == 1 and coordinator is None:
            return None
        if coordinator is None and launcher is SLURM:
            coordinator = slurm_coordinator(environ)
        if coordinator is None:
            raise UserError(
                f"{launcher.name} has started {processes} processes ({launcher.count}): give all of them "
                "--coordinator HOST:PORT, the host that process 0 runs on and a free port, or each --processes 1 if "
                "they train apart"
            )
    elif given and process_id is None and environ.get(KUBERNETES_INDEX):
        process_id = _number(KUBERNETES_INDEX, environ)
    if not given and launcher is None:
        return None
    options = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in options.items() if value is None]
    if missing or coordinator is None or processes is None or process_id is None:
        raise UserError(
            f"{' and '.join(given)}: give {' and '.join(missing)}, too (a training on several hosts needs "
            "--coordinator HOST:PORT --processes N --process-id I)"
        )
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^:\s]+):\d{1,5}", coordinator) or not 0 < _port(coordinator) < 65536:
        raise UserError(f"--coordinator {coordinator}: give HOST:PORT, for example node01:29500")
    if not 0 <= process_id < processes:
        raise UserError(f"--process-id {process_id}: must lie between 0 and {processes - 1} (--processes {processes})")
    return Place(coordinator, processes, process_id) if processes > 1 else None


def slurm_coordinator(environ: Mapping[str, str]) -> str:
    """Returns the first host of a Slurm step, with a port that another job is unlikely to take."""
    first = re.match(r"(?:[^,\[\]]|\[\d[^\]]*\])+", environ["SLURM_STEP_NODELIST"])
    if first is None:
        raise UserError(f"SLURM_STEP_NODELIST = {environ['SLURM_STEP_NODELIST']}: names no host; give --coordinator")
    host = re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0])  # rack[1-2]node[03,07] begins with rack1node03
    return f"{host}:{20000 + _number('SLURM_JOB_ID', environ) % 10000}"


def _port(coordinator: str) -> int:
    return int(coordinator.rpartition(":")[2])


def _number(variable: str, environ: Mapping[str, str]) -> int:
    value = environ[variable]
    if not re.fullmatch(r"\d{1,9}", value):
        raise UserError(f"{variable} = {value}: is not a number; give --coordinator, --processes and --process-id")
    return int(value)


def _same(option: str, given: int | None, launcher: Launcher, variable: str, environ: Mapping[str, str]) -> int:
    """Returns the launcher's number; raises a UserError if an option says another."""
    number = _number(variable, environ)
    if given is not None and given != number:
        raise UserError(
            f"{option} {given}: {launcher.name} has set {variable} = {number}; leave the option out, or start the "
            f"processes without {launcher.name}"
        )
    return number
