"""The optimiser of a config: clipping, AdamW or Muon, schedule."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from flowseg.config import OptimConfig
from flowseg.models.vector import Layout
from flowseg.training.muon import muon


def learning_rate(config: OptimConfig, updates: int) -> optax.Schedule:
    """Learning rate by update number; `plateau` starts constant and is scaled at validations."""
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0 if config.warmup_steps else config.lr,
            peak_value=config.lr,
            warmup_steps=config.warmup_steps,
            decay_steps=max(updates, config.warmup_steps + 1),
        )
    return optax.constant_schedule(config.lr)


def optimizer(config: OptimConfig, total_steps: int, layout: Layout) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW (Loshchilov and Hutter 2019) or Muon; the schedule counts updates.

    It works on the vector of all parameters.
    """
    rate = learning_rate(config, max(total_steps // config.accumulate, 1))
    rule = muon(config, rate, layout) if config.rule == "muon" else optax.adamw(rate, weight_decay=config.weight_decay)
    return optax.chain(_clip_by_global_norm(config.clip_norm), rule)


def _clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """As optax.clip_by_global_norm, without its branch, which would keep XLA from doing the update in one pass."""

    def update(grads: optax.Updates, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        scale = jnp.minimum(1.0, limit / jnp.maximum(optax.global_norm(grads), 1e-12))
        return jax.tree.map(lambda g: g * scale, grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def plateau(config: OptimConfig) -> optax.GradientTransformationExtraArgs:
    """The rule that scales the rate when validation stalls; stepped once a validation with 1 - Dice.

    A Dice that is higher by 1e-4 or less does not count as better.
    """
    return optax.contrib.reduce_on_plateau(
        factor=config.plateau_factor, patience=config.plateau_patience, rtol=0.0, atol=1e-4
    )
