"""How far loss and gradient on this machine's GPU are from the CPU's, in each precision.

    python benchmarks/gpu_agreement.py [vlm_film] [--size 64] [--json FILE]

The CPU computes in float32 with its own kernels, the GPU with those that it would train with: float32 with exact
products (`JAX_DEFAULT_MATMUL_PRECISION=highest`), float32 as it is (TF32 products), bf16. The network has its four
levels and its attention, at half the width and on small maps; its parameters are random, FiLM's heads included.
Differences are relative, |GPU - CPU| / |CPU|; for the gradient these are norms over all parameters.
"""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machine import describe_machine, write_results

from flowseg.commands.parsing import find_config, load_config
from flowseg.config import Config
from flowseg.flow import Draw, make_flow
from flowseg.models import kernels
from flowseg.models.network import Network, init_params
from flowseg.models.vector import Layout
from flowseg.training.step import loss_of


def loss_and_gradient(config: Config, device: jax.Device, params: Any, batch: dict[str, Any]) -> tuple[float, Any]:
    """Returns the loss of a batch and its gradient by all parameters, computed on a device with its kernels."""
    flow = make_flow(config.flow)
    network = Network(config, kernels.choose(device, config.precision), flow.estimate)
    places = jnp.arange(config.train.batch)

    def loss(params: Any, batch: dict[str, Any], key: jax.Array) -> jax.Array:
        return loss_of(params, flow, network, batch, Draw(key, places, config.train.batch))

    placed = jax.device_put((params, batch, jax.random.key(1)), device)
    value, gradient = jax.jit(jax.value_and_grad(loss))(*placed)
    layout = Layout(jax.eval_shape(lambda: params))
    return float(value), np.asarray(layout.ravel(gradient), np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Loss and gradient on the GPU beside the CPU's.")
    parser.add_argument("config", nargs="?", default="vlm_film", help="its name or file; with FiLM")
    parser.add_argument("--size", type=int, default=64, help="side of the maps, pixels")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    machine = describe_machine()
    config = load_config(find_config(args.config))
    config = replace(
        config,
        precision="float32",
        flow=replace(config.flow, consistency=0.0),  # the same network, evaluated twice more
        model=replace(config.model, dim=16),
        data=replace(config.data, crop=args.size),
        train=replace(config.train, batch=2),
    )
    rng = np.random.default_rng(0)
    drawn = init_params(config)
    params = jax.tree.map(lambda p: np.asarray(p + 0.05 * rng.standard_normal(p.shape, np.float32)), drawn)
    shape = (2, args.size, args.size, 1)
    batch = {
        "image": rng.uniform(-1, 1, shape).astype(np.float32),
        "target": (rng.random(shape) < 0.2).astype(np.float32),
        "embedding": rng.standard_normal((2, config.model.film.embedding_width), np.float32),
    }
    gpu = jax.devices()[0]
    if gpu.platform != "gpu":
        sys.exit(f"JAX computes on {gpu.device_kind}: there is no GPU to compare")
    loss, gradient = loss_and_gradient(config, jax.devices("cpu")[0], params, batch)
    rows: dict[str, dict[str, float]] = {}
    cases: dict[str, tuple[Config, AbstractContextManager[Any]]] = {
        "float32, exact products": (config, jax.default_matmul_precision("highest")),
        "float32": (config, nullcontext()),
        "bf16": (replace(config, precision="bf16"), nullcontext()),
    }
    for name, (there, exactly) in cases.items():
        with exactly:
            value, by_params = loss_and_gradient(there, gpu, params, batch)
        away = float(np.linalg.norm(by_params - gradient) / np.linalg.norm(gradient))
        rows[name] = {"loss": abs(value - loss) / abs(loss), "gradient": away}
        print(f"{name:24}loss {rows[name]['loss']:.1e}  gradient {away:.1e}  ({gpu.device_kind})", flush=True)
    if args.json:
        write_results(args.json, machine, device=gpu.device_kind, cpu_loss=loss, relative=rows)


if __name__ == "__main__":
    main()
