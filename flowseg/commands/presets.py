"""The reduced recipe for machines without an accelerator, and what is printed about it."""

import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp

from flowseg.commands.accelerator import gpu_unused
from flowseg.config import Config
from flowseg.data.folders import find_pairs
from flowseg.data.pipeline import half_size_steps, total_steps
from flowseg.evaluation.label_survival import SIDES, ReducedSize, reduced_size, working_side
from flowseg.phantoms.angiogram import COUNTS
from flowseg.progress import duration

# One forward pass of one 320x320 image at dim 32, counted; a training step takes about three times as many.
_GFLOP_FORWARD = 178.0
# Speed of a step relative to the convolution of `_gflops`: 0.41 on two cores of an Intel Xeon with AVX-512 (33 s for
# six 320x320 images, the convolution at 235 GFLOP/s), about 0.55 on two of an AMD EPYC.
_SHARE = 0.45
PHANTOMS = ReducedSize(max_side=288, crop=SIDES[0], few=True)
"""For the phantoms, which are not drawn yet when it is needed: the size is what `working_side` finds, and a first try
should finish within twelve minutes, installation included."""


def cpu_preset(config: Config, size: ReducedSize) -> Config:
    """Returns the experiment reduced to what two cores train in minutes (docs/recipes.md says how it was found).

    Images are downsampled and seen upright: the vessel tree can be recognised at low resolution, and lies where it
    usually does. The network takes patches of 2x2 pixels, and half the channels.
    """
    target = config.data.target if config.flow.family == "gaussian" else "coverage"
    return replace(
        config,
        model=replace(config.model, dim=16, heads=2, head_dim=16, patch=2),
        # A short training takes times at or near 0, where the mask has to be found, and leaves out the costly term.
        flow=replace(config.flow, time_power=2.5, time_zero=0.5, consistency=0.0),
        data=replace(
            config.data,
            crop=size.crop,
            max_side=size.max_side,
            target=target,
            flip=0.0,
            quarter_turn=0.0,
            rotate=1.0,
            rotate_degrees=20.0,
            zoom=0.5,
            gamma=0.5,
            gamma_range=(0.7, 1.5),
        ),
        optim=replace(
            config.optim,
            rule="muon",
            lr=2e-3,
            muon_lr=5e-3,
            weight_decay=0.1,
            schedule="cosine",
            warmup_steps=50,
            accumulate=1,
            ema_decay=0.99,
        ),
        train=replace(
            config.train,
            batch=4,
            epochs=6 if size.few else 18,
            epoch_steps=100,
            half_size_share=0.5 if size.crop > SIDES[0] else 0.0,
            validate_every=2 if size.few else 3,
            checkpoint_every=100,
        ),
        eval=replace(config.eval, sampler="euler", steps=1, window_batch=4),
    )


def reduced_recipe(config: Config, root: str | None) -> Config:
    """Returns the reduced recipe for the data set in a folder, or without one for the phantoms.

    Raises:
        UserError: training labels are missing or cannot be read.
    """
    if not root:
        return cpu_preset(config, PHANTOMS)
    return cpu_preset(config, reduced_size(len(find_pairs(Path(root), "train")), working_side(Path(root))))


def _gflops() -> float:
    """Returns this machine's speed on a convolution like the network's, in GFLOP/s."""
    size, channels, batch = 64, 32, 4
    x, kernel = jnp.ones((batch, size, size, channels)), jnp.ones((3, 3, channels, channels))
    convolve = jax.jit(
        lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )
    convolve(x).block_until_ready()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        convolve(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2e-9 * 9 * channels**2 * size**2 * batch / best


def step_seconds(config: Config) -> float:
    """Returns about how many seconds a step of a config takes on this machine's processor."""
    scale = (config.model.dim / 32 * config.data.crop / config.model.patch / 320) ** 2
    evaluated = float(config.train.batch)
    if config.flow.family == "binary" and config.flow.consistency:
        # Twice for each of two examples, in some of the steps.
        evaluated += 4 * config.flow.consistency_probability
    return 3 * evaluated * scale * _GFLOP_FORWARD / (_SHARE * _gflops())


def banner(full: Config, reduced: Config, preset: str) -> str:
    """Returns what was reduced and why, how to run the full recipe, and how long that would take here."""
    root = reduced.data.root
    images = len(find_pairs(Path(root), "train")) if root else COUNTS["train"]
    steps = total_steps(full, images)
    why = "no accelerator was found" if preset == "auto" else f"--preset {preset}"
    warning = gpu_unused() if preset == "auto" else ""
    length = f"{total_steps(reduced, images):,} steps of {reduced.train.batch} crops"
    if halved := half_size_steps(reduced, images):
        length += f", the first {halved:,} of them at half size"
    cost = duration(steps * step_seconds(full))
    size = f"images of at most {reduced.data.max_side} pixels, " if reduced.data.max_side else ""
    patches = f"patches of {reduced.model.patch}x{reduced.model.patch} pixels, " if reduced.model.patch > 1 else ""
    return (
        f"{warning}Because {why}: {size}{reduced.data.crop}x{reduced.data.crop} crops, {patches}"
        f"width {reduced.model.dim}, {length}.\n"
        f"The full recipe is {full.data.crop}x{full.data.crop} crops, width {full.model.dim}, {full.train.epochs} "
        f"epochs ({steps:,} steps with {images} images): make train ... PRESET=full (or --preset full).\n"
        f"Here that would take about {cost} (estimated from this machine's convolution speed)."
    )
