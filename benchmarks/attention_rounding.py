"""What 16-bit queries, keys and values cost in accuracy: a trained run's validation images, on any machine.

    python benchmarks/attention_rounding.py RUN

GPUs compute softmax attention from 16-bit inputs: float16 for float32 networks, bfloat16 for bf16. They pool the
positions of linear attention in the same way. Here queries, keys, values and the weights are rounded as there;
everything else stays float32. TF32 stands beside it: it is what the same GPU would round them to in a float32 product.
The differences are those of the probabilities.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from flowseg.commands.startup import set_up_jax

if __name__ == "__main__":
    # Before JAX is imported.
    set_up_jax()

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from machine import describe_machine, write_results

from flowseg.evaluation.overlap import overlap_metrics
from flowseg.models.kernels import PLAIN, Kernels, plain
from flowseg.models.network import Network
from flowseg.runs.folder import open_run
from flowseg.runs.trained import Trained
from flowseg.sampling.segment import segment
from flowseg.sampling.windows import WindowSampler

HERE = Path(__file__).resolve().parent
BITS = {"float32": 23, "TF32": 10, "float16": 10, "bfloat16": 7}
"""Bits of the mantissa. float16 has those of TF32 and a smaller range."""


def rounded(x: Array, form: str) -> Array:
    """Returns float32 values rounded to another form."""
    if form in ("float16", "bfloat16"):
        return x.astype(form).astype(jnp.float32)
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=BITS[form])


def attention(q: Array, k: Array, v: Array, form: str) -> Array:
    """Softmax attention from rounded inputs, with rounded weights."""
    q, k, v = (rounded(part, form) for part in (q, k, v))
    scores = jnp.einsum("bnhd,bmhd->bhnm", q, k) * q.shape[-1] ** -0.5
    return jnp.einsum("bhnm,bmhd->bnhd", rounded(jax.nn.softmax(scores, axis=-1), form), v)


def softmax_pool(x: Array, kernel: Array, form: str) -> Array:
    """The pooled positions of linear attention from rounded inputs, with rounded weights."""
    x, kernel = rounded(x, form), rounded(kernel, form)
    return jnp.einsum("bnk,bnc->bkc", rounded(jax.nn.softmax(x @ kernel, axis=1), form), x)


def probabilities(trained: Trained, kernels: Kernels) -> tuple[list[np.ndarray], float]:
    """Returns the probability maps of the validation images, and their mean Dice."""
    sampler = WindowSampler(trained.config)
    sampler.network = Network(trained.config, kernels, sampler.flow.estimate)
    images = trained.prepare(["val"]).datasets["val"]
    maps = [found.probability for found in segment(sampler, trained.params, images)]
    dice = [overlap_metrics(map > 0.5, images.truth(i))["dice"] for i, map in enumerate(maps)]
    return maps, float(np.mean(dice))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run's folder")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "attention_rounding.json")
    args = parser.parse_args()
    machine, trained = describe_machine(), Trained.open(open_run(args.run))
    exact: list[np.ndarray] = []
    rows = []
    for form in BITS:
        softmax: Callable[..., Array] = partial(attention, form=form)
        attend = partial(plain.attend, softmax_attention=softmax)
        rounding = replace(PLAIN, attend=attend, softmax_pool=partial(softmax_pool, form=form))
        maps, dice = probabilities(trained, rounding)
        exact = exact or maps
        apart = np.concatenate([np.abs(a - b).ravel() for a, b in zip(maps, exact, strict=True)])
        rows.append({"form": form, "dice": dice, "mean": float(apart.mean()), "largest": float(apart.max())})
        print(
            f"{form:9} Dice {dice:.5f}, probabilities apart by {apart.mean():.2e} (mean), {apart.max():.2e} (largest)"
        )
    write_results(args.out, machine, rows=rows)


if __name__ == "__main__":
    main()
