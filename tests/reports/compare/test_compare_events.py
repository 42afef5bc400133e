"""Jumps, falls and loss anomalies are found where they are and nowhere else."""

from pathlib import Path

import numpy as np
import pytest

from flowseg.reports.compare.events import falls, jumps, loss_anomalies, steadiness
from flowseg.reports.compare.log import RunLog, with_sources


def log(dices: list[float | None], losses: list[float] | None = None, first: int = 0) -> RunLog:
    values = [(first + i, losses[i] if losses else 0.1, dice) for i, dice in enumerate(dices)]
    rows, carried = with_sources(values)
    return RunLog("run", Path("run"), rows, carried, None)


def test_a_jump_is_against_the_best_a_fall_against_the_value_before() -> None:
    run = log([0.50, 0.60, 0.55, 0.602, 0.606, 0.6115, 0.60])
    # 0.602 and 0.606 are new bests by less than 0.005 each; 0.6115 by 0.0055 above 0.606.
    assert [(c.epoch, c.from_epoch) for c in jumps(run)] == [(1, 0), (5, 4)]
    assert [(c.epoch, c.from_epoch) for c in falls(run)] == [(2, 1), (6, 5)]
    assert [c.change for c in falls(run)] == pytest.approx([-0.05, -0.0115])


def test_a_step_of_exactly_the_size_counts() -> None:
    """In binary 0.813 - 0.808 is a little less than 0.005."""
    assert [c.epoch for c in jumps(log([0.8080, 0.8130, 0.8179]))] == [1]
    assert [c.epoch for c in falls(log([0.8130, 0.8080, 0.8031]))] == [1]


def healthy(seed: int, epochs: int) -> list[float]:
    """A loss that falls steeply, then slowly, and scatters in proportion."""
    rng = np.random.default_rng(seed)
    level = 0.08 + 1.5 / (1 + np.arange(epochs)) ** 1.2
    return list(level * (1 + 0.05 * rng.normal(size=epochs)))


def test_healthy_losses_have_few_anomalies() -> None:
    found = [loss_anomalies(log([None] * 300, healthy(seed, 300))) for seed in range(30)]
    assert sum(map(len, found)) <= 3  # of 9,000 epochs


@pytest.mark.parametrize("at", [5, 100, 299])
def test_a_spike_is_found_and_nothing_else(at: int) -> None:
    losses = healthy(3, 300)
    # The first epochs fall steeply by themselves: a spike there must stand out from that.
    losses[at] *= 6
    found = loss_anomalies(log([None] * 300, losses))
    assert [a.epoch for a in found] == [at] if at < 299 else found == []
    if found:
        assert found[0].usual < losses[at] / 2


def test_a_constant_loss_is_in_line_and_a_short_log_is_not_judged() -> None:
    assert loss_anomalies(log([None] * 50, [0.1] * 50)) == []
    assert loss_anomalies(log([None] * 10, [0.1] * 9 + [9.0])) == []
    assert [a.epoch for a in loss_anomalies(log([None] * 50, [0.1] * 20 + [0.5] + [0.1] * 29))] == [20]


def test_steadiness_counts_measurements_only() -> None:
    blocks = [d for d in (0.5, 0.7, 0.6, 0.8) for _ in range(10)]
    found = steadiness(log(blocks))
    assert found.dice_steps == 3 and found.drawdown == pytest.approx(0.1)
    assert found.dice_step_sd == pytest.approx(np.std([0.2, -0.1, 0.2], ddof=1))
    assert steadiness(log([0.5, 0.6])).dice_step_sd is None
