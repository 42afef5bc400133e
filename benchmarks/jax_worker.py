"""Times flowseg's training step or forward pass: a program of its own, so that its memory and start are its own.

    python benchmarks/jax_worker.py --config vlm_film --size 128 --batch 6 --mode train

Speaks the JSON lines of torch_worker.py: {"ready": true, "compile_s": ...} after the first call, which traces and
compiles or loads the program; then {"runs": n} is answered with {"seconds": [...], "peak_bytes": ...}.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Times flowseg; speaks JSON lines (see the file).")
    parser.add_argument(
        "--config", default="vlm_film_gaussian", help="its name or file; the reference has the Gaussian flow"
    )
    parser.add_argument("--mode", choices=("train", "forward"), default="train", help="what a call computes")
    parser.add_argument("--size", type=int, default=128, help="side of the maps, pixels; a multiple of 8")
    parser.add_argument("--batch", type=int, default=6, help="images per call")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--parallel", choices=("pmap", "jit"), default="pmap")
    parser.add_argument("--devices", type=int, default=1, help="on a CPU made of its cores")
    parser.add_argument("--dim", type=int, default=32, help="channels of the finest level")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--junction-radius", type=int, default=0, help="of FiLM's gate, pixels; 0: none")
    parser.add_argument("--head-dim", type=int, default=32)
    return parser.parse_args()


def prepare(args: argparse.Namespace) -> Callable[[], None]:
    """The call to time, on inputs made once; it returns when the device is done."""
    import jax
    import numpy as np

    from flowseg.commands.parsing import find_config, load_config
    from flowseg.flow import make_flow
    from flowseg.models import kernels
    from flowseg.models.network import Network, init_params
    from flowseg.training.drivers import make_driver
    from flowseg.training.state import init_state

    config = load_config(find_config(args.config))
    config = replace(
        config,
        precision=args.precision,
        parallel=args.parallel,
        devices=args.devices,
        model=replace(
            config.model,
            dim=args.dim,
            heads=args.heads,
            head_dim=args.head_dim,
            film=replace(config.model.film, junction_radius=args.junction_radius),
        ),
        data=replace(config.data, crop=args.size),
        # An update for every batch, as in the PyTorch reference.
        optim=replace(config.optim, accumulate=1),
        train=replace(config.train, batch=args.batch),
    )
    rng = np.random.default_rng(0)
    shape = (args.batch, args.size, args.size, 1)
    batch: dict[str, Any] = {name: rng.standard_normal(shape, np.float32) for name in ("image", "target")}
    if config.model.film.stages:
        batch["embedding"] = rng.standard_normal((args.batch, config.model.film.embedding_width), np.float32)
    params = init_params(config)
    if args.mode == "forward":
        chosen = kernels.choose(jax.devices()[0], args.precision)
        forward = jax.jit(Network(config, chosen, make_flow(config.flow).estimate).apply)
        placed = jax.device_put(params)
        t = np.full((args.batch,), 0.5, np.float32)
        inputs = jax.device_put((batch["target"], t, batch["image"], batch.get("embedding")))
        return lambda: forward(placed, *inputs).block_until_ready()

    driver = make_driver(config, 1000)
    state = driver.place_state(init_state(config, params, 1000))
    del params

    def step() -> None:
        nonlocal state
        state, metrics = driver(state, batch)
        jax.block_until_ready((state, metrics))

    return step


def peak_bytes() -> int:
    """Peak memory: of the GPU, or of the process."""
    import jax

    if jax.default_backend() != "cpu":
        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status tells no VmHWM: peak memory is read on Linux only")


def main() -> None:
    args = parse()
    from flowseg.commands.startup import set_up_jax, use_huge_pages

    use_huge_pages()
    set_up_jax()
    if args.devices > 1:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={args.devices}"
        os.environ["XLA_FLAGS"] = flags.strip()
    import jax

    call = prepare(args)

    def timed() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    about = {"compile_s": timed(), "versions": {"jax": jax.__version__}, "device": jax.devices()[0].device_kind}
    print(json.dumps({"ready": True, **about}), flush=True)
    for line in sys.stdin:
        seconds = [timed() for _ in range(int(json.loads(line)["runs"]))]
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
