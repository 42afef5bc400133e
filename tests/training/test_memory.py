"""How many crops a step takes at a time follows from the device's memory; a lack of it is one line."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from flowseg.config import Config, FlowConfig
from flowseg.errors import UserError, counted
from flowseg.training import memory
from flowseg.training.memory import check_fits, memory_told, microbatch, step_bytes

CONFIG = replace(Config(), precision="bf16", flow=FlowConfig(consistency=0.0))


def gpu(gigabytes: float | None) -> Any:
    stats = {"bytes_limit": int(gigabytes * 1e9)} if gigabytes else None
    return SimpleNamespace(platform="gpu", device_kind="NVIDIA A2", memory_stats=lambda: stats)


def test_a_gpu_takes_what_fits_and_divides_its_share() -> None:
    needed = {n: step_bytes(CONFIG, n) / 1e9 for n in (1, 2, 3, 6)}
    assert microbatch(CONFIG, gpu(None), 6) == 6
    assert microbatch(CONFIG, gpu(needed[6] / 0.8), 6) == 6
    assert microbatch(CONFIG, gpu(needed[6]), 6) == 3
    assert microbatch(CONFIG, gpu(needed[3]), 6) == 2
    assert microbatch(CONFIG, gpu(needed[1]), 6) == 1  # may not fit, but the estimate may be wrong
    assert microbatch(CONFIG, jax.devices("cpu")[0], 6) == 1


def test_the_consistency_term_adds_nothing_to_a_whole_batch() -> None:
    """XLA's peak of the published step is 3.48 GB with the term and 3.42 without (docs/performance.md)."""
    consistent = replace(CONFIG, flow=FlowConfig(consistency=0.1))
    assert step_bytes(consistent, 6) == step_bytes(CONFIG, 6)
    assert step_bytes(consistent, 1) == step_bytes(CONFIG, 2)  # two evaluations of one example


def test_what_the_config_says_holds() -> None:
    asked = replace(CONFIG, train=replace(CONFIG.train, microbatch=6))
    assert microbatch(asked, gpu(1), 6) == microbatch(asked, jax.devices("cpu")[0], 6) == 6
    with pytest.raises(UserError, match=r"train\.microbatch = 6: does not divide the 4 crops"):
        microbatch(asked, gpu(80), 4)


def test_the_estimate_grows_with_what_a_step_holds() -> None:
    least = step_bytes(CONFIG, 1)
    assert step_bytes(CONFIG, 2) > least
    for more in (
        replace(CONFIG, precision="float32"),
        replace(CONFIG, flow=FlowConfig(consistency=0.1)),
        replace(CONFIG, data=replace(CONFIG.data, crop=512)),
        replace(CONFIG, model=replace(CONFIG.model, dim=64)),
    ):
        assert step_bytes(more, 1) > least


def test_what_plainly_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    half = step_bytes(CONFIG, 1) / 2e9
    check_fits(CONFIG, [gpu(1.01 * half)])  # the estimate may be wrong
    with pytest.raises(
        UserError, match=r"too little memory on NVIDIA A2 of .*: a step with 1 crop of 320x320 .* takes at least"
    ):
        check_fits(CONFIG, [gpu(0.99 * half)])
    check_fits(CONFIG, [gpu(None)])
    cpu = jax.devices("cpu")[:1]
    check_fits(CONFIG, cpu)
    widest = replace(CONFIG.model, dim=1024, multipliers=(64,) * 4)
    for larger in (
        replace(CONFIG, model=widest),
        replace(CONFIG, model=replace(CONFIG.model, heads=64, head_dim=512), data=replace(CONFIG.data, crop=2048)),
        replace(CONFIG, train=replace(CONFIG.train, batch=65_536), data=replace(CONFIG.data, crop=2048)),
    ):
        with pytest.raises(UserError, match="memory"):
            check_fits(larger, cpu)
    monkeypatch.setattr(memory, "machine_memory", lambda: 1e8)
    with pytest.raises(UserError, match=r"too little memory on cpu of 0\.1 GB"):
        check_fits(CONFIG, cpu)


@pytest.mark.parametrize(("examples", "remedy"), [(6, "set --train.microbatch 3"), (1, "lower --data.crop")])
def test_a_lack_of_memory_is_one_line(examples: int, remedy: str) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, microbatch=examples))
    with pytest.raises(UserError) as told, memory_told(config, [gpu(16)]):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")
    message = str(told.value)
    assert "out of memory on NVIDIA A2 of 16.0 GB" in message and f"{counted(examples, 'crop')} of 320x320" in message
    assert remedy in message and "\n" not in message


def test_other_errors_stay_themselves() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory_told(CONFIG, [gpu(16)]):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
