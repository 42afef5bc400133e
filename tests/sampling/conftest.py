"""What the tests of window samplers share."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import pytest
from stub_network import Stub, StubSampler, config

from flowseg.sampling import windows
from flowseg.sampling.windows import WindowSampler


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubSampler:
    """A sampler whose samples are a given function of noise, image and embedding."""

    def make(sample: Callable, *, devices: Sequence[jax.Device] | None = None, **options: Any) -> WindowSampler:
        monkeypatch.setattr(windows, "Network", lambda config, kernels, estimate: Stub(sample))
        return WindowSampler(config(**options), devices)

    return make
