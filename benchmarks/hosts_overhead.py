"""What several processes cost a training: its start, and a step, against one process on the same cores.

    python benchmarks/hosts_overhead.py ROOT [--turns 3] [--steps 40]

Both train the reduced recipe of `vlm_film` on two CPU devices: one process with two of them, and two processes with
one each that meet over the loopback interface. They take turns, after one start of each that is not counted and fills
the caches. A run is ended as soon as it has logged its steps.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine, write_results

RESULTS = Path(__file__).parent / "results" / "hosts_overhead.json"
LOGGED = 10
MODES = {"1 process, 2 devices": (1, 2), "2 processes, 1 device each": (2, 1)}


def free_port() -> int:
    """Returns a port of the loopback interface that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def measure(root: Path, processes: int, devices: int, steps: int, run: Path) -> dict[str, float]:
    """Trains for some steps; returns the seconds to the end of the first step, and of a step after that (median)."""
    command = [sys.executable, "-m", "flowseg", "train", "vlm_film", "--preset", "cpu", "--data", str(root)]
    command += ["--out", str(run), "--train.log-every", str(LOGGED)]
    address = f"127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    started = time.monotonic()
    alike = []
    for index in range(processes):
        here = ["--coordinator", address, "--processes", str(processes), "--process-id", str(index)]
        alike.append(
            subprocess.Popen(
                command + (here if processes > 1 else []),
                stdout=subprocess.PIPE if index == 0 else subprocess.DEVNULL,
                stderr=subprocess.STDOUT if index == 0 else subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        )
    said, first = [], 0.0
    assert alike[0].stdout is not None
    for line in alike[0].stdout:
        said.append(line)
        if re.match("the training step was ready", line):
            first = time.monotonic() - started
            break
    else:
        sys.exit(f"the training has ended:\n{''.join(said)}")
    speeds: list[float] = []
    while len(speeds) * LOGGED < steps:
        time.sleep(0.5)
        lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
        speeds = [m["images_per_s"] for line in lines[1:] if (m := json.loads(line))["kind"] == "train"]
        if any(one.poll() is not None for one in alike):
            sys.exit("the training has ended before its steps; give a larger data set, or fewer steps")
    for one in alike:
        one.send_signal(signal.SIGKILL)
        one.wait()
    batch = json.loads((run / "config.json").read_text())["config"]["train"]["batch"]
    return {"first_step_s": first, "step_s": batch / float(np.median(speeds))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="a data set")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="steps of each run that are timed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    machine = describe_machine()
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.turns + 1):
            for mode, (processes, devices) in MODES.items():
                steps = args.steps if turn else LOGGED
                one = measure(args.root, processes, devices, steps, Path(folder) / f"{turn}-{processes}")
                print(f"turn {turn}, {mode}: " + ", ".join(f"{name} {value:.3f}" for name, value in one.items()))
                if turn:
                    found[mode].append(one)
    alone, together = found.values()
    ratios = {
        name: float(np.median([b[name] / a[name] for a, b in zip(alone, together, strict=True)])) for name in alone[0]
    }
    for name, ratio in ratios.items():
        medians = [float(np.median([one[name] for one in turns])) for turns in found.values()]
        print(f"{name}: {medians[0]:.3f} in one process, {medians[1]:.3f} in two, {ratio:.3f} times (median of turns)")
    write_results(args.out, machine, turns=found, ratios=ratios)


if __name__ == "__main__":
    main()
