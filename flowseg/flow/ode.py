"""Integration rules: an ordinary differential equation solved from t = 0 to t = 1.

The fixed-step rules are explicit Runge-Kutta methods on a uniform grid. The adaptive one is diffrax's
Dormand-Prince 5(4), which the original experiment used.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowseg.config import Sampler

State = Float[Array, "b h w 1"]
Velocity = Callable[[State, Float[Array, ""]], State]

# Butcher tableaux: nodes c, strictly lower rows of a, weights b.
_TABLEAUX: dict[str, tuple[tuple[float, ...], tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": ((0.0,), ((),), (1.0,)),
    "heun": ((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "midpoint": ((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": ((0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
_MAX_ADAPTIVE_STEPS = 4096


def _combine(x: State, h: float, weights: tuple[float, ...], slopes: list[State]) -> State:
    for w, k in zip(weights, slopes, strict=True):
        if w:
            x = x + (h * w) * k
    return x


def integrate(
    velocity: Velocity, x0: State, *, sampler: Sampler = "euler", steps: int = 8, tolerance: float = 1e-4
) -> tuple[State, Float[Array, ""]]:
    """Returns the solution at t = 1 of dx/dt = velocity(x, t), x(0) = x0.

    Args:
        velocity: (B, H, W, 1) state and scalar time to velocity.
        steps: steps of equal length (fixed-step samplers).
        tolerance: relative and absolute local tolerance (dopri5), of the root mean square over the whole batch: its
            examples share their steps, so a solution depends, within the tolerance, on what else is in the batch.

    Returns:
        x(1), and the number of velocity evaluations (NFE). x(1) is NaN if dopri5 cannot keep its tolerance within
        4096 steps.
    """
    if sampler == "dopri5":
        import diffrax  # imported here: only this rule needs it, and it takes a tenth of a start

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, x, _: velocity(x, t)),
            diffrax.Dopri5(),
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=x0,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=_MAX_ADAPTIVE_STEPS,
            throw=False,  # the check would call the host from the device
        )
        reached = solution.result == diffrax.RESULTS.successful
        # Each step takes six new slopes; the last of them is the first of the next step.
        return jnp.where(reached, solution.ys[-1], jnp.nan), 6.0 * solution.stats["num_steps"] + 1.0
    nodes, rows, weights = _TABLEAUX[sampler]
    h = 1.0 / steps

    def step(x: State, i: Float[Array, ""]) -> tuple[State, None]:
        slopes: list[State] = []
        for c, row in zip(nodes, rows, strict=True):
            slopes.append(velocity(_combine(x, h, row, slopes), (i + c) * h))
        return _combine(x, h, weights, slopes), None

    x1, _ = jax.lax.scan(step, x0, jnp.arange(steps, dtype=jnp.float32))
    return x1, jnp.asarray(float(steps * len(nodes)))
