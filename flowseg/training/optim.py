"""The optimiser of a config: clipping, AdamW, schedule, accumulation."""

import optax

from flowseg.config import OptimConfig


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


def optimizer(config: OptimConfig, total_steps: int) -> optax.GradientTransformation:
    """Clip by global norm, AdamW (Loshchilov and Hutter 2019); gradients averaged over `accumulate` batches."""
    updates = max(total_steps // config.accumulate, 1)
    transformation = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(learning_rate(config, updates), weight_decay=config.weight_decay),
    )
    if config.accumulate == 1:
        return transformation
    return optax.MultiSteps(transformation, config.accumulate).gradient_transformation()


def plateau(config: OptimConfig) -> optax.GradientTransformationExtraArgs:
    """The rule that scales the rate when validation stalls; stepped once a validation with 1 - Dice."""
    return optax.contrib.reduce_on_plateau(
        factor=config.plateau_factor, patience=config.plateau_patience, rtol=0.0, atol=1e-4
    )
