"""What every test shares: four CPU devices, a compile cache, a small data set, the shared folder."""

import gc
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ray_machines import Machines

    from flowseg.config import Config

REPO = Path(__file__).resolve().parents[1]

# Before anything imports JAX.
os.environ["JAX_PLATFORMS"] = "cpu"
# Most of the suite's time is LLVM's: without its optimisation the same programs compile twice as fast.
_FLAGS = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
# Programs that the tests start would start again to set it.
os.environ.setdefault("GLIBC_TUNABLES", "")
# A kept trace knows nothing of what a test patches.
os.environ["FLOWSEG_TRACES"] = ""
# What a test keeps stays out of the user's own cache.
os.environ["FLOWSEG_CACHE"] = str(REPO / ".cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPO / ".cache" / "xla"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
# A shell that starts the tests in the background lets them ignore SIGINT, and so would the programs that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# As the program does: collecting garbage among the objects of a trace takes a fifth of its time.
gc.set_threshold(100_000, 50, 1000)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With pytest-xdist, a file's tests run in one process: its compiled programs are made once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # by the number of tests would leave long files with few tests to the end
    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that compile large programs come first, so that no process waits for another's long file at the end."""
    first = [REPO / "tests" / folder for folder in ("training", "models")]
    items.sort(key=lambda item: next((i for i, folder in enumerate(first) if folder in item.path.parents), len(first)))


@pytest.fixture(scope="module", autouse=True)
def _unload_programs() -> Iterator[None]:
    """Programs leave the process with the file that used them: each takes thousands of its memory maps."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def machines() -> "Iterator[Machines]":
    """A Ray cluster for the tests of a file; one of its nodes may be killed by the last."""
    from ray_machines import Machines

    made = Machines()
    yield made
    made.shutdown()


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs can be lowered for cuDNN's attention on a machine without it: 9.28 stands in for the version found."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 92800)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the original's numbers and the real images; tests that need it skip without it."""
    given = os.environ.get("FLOWSEG_SHARED")
    folder = Path(given) if given else REPO.parent / "shared"
    if not (folder / "parity").is_dir():
        pytest.skip(f"no folder {folder}/parity: set FLOWSEG_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def torch_reference() -> Callable[[], ModuleType]:
    """A function that returns benchmarks/torch_reference.py as a module, for tests that have PyTorch."""

    def load() -> ModuleType:
        name = "torch_reference"
        spec = importlib.util.spec_from_file_location(name, REPO / "benchmarks" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # its dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of eleven phantoms of 64x64; tests copy it before they change it."""
    from flowseg.phantoms.angiogram import write_phantoms

    root = tmp_path_factory.mktemp("tiny") / "data"
    write_phantoms(root, size=64, counts={"train": 6, "val": 2, "test": 3})
    return root


@pytest.fixture(scope="session")
def tiny_config(tiny_data: Path) -> "Config":
    """A narrow network of two levels on small maps: 12 steps of 4 crops of 16x16 on the small phantoms."""
    from flowseg.config import (
        Config,
        DataConfig,
        EvalConfig,
        FilmConfig,
        FlowConfig,
        ModelConfig,
        OptimConfig,
        TrainConfig,
    )

    return Config(
        name="tiny",
        devices=1,
        model=ModelConfig(
            dim=8,
            multipliers=(1, 2),
            heads=1,
            head_dim=8,
            full_attention_levels=(1,),
            film=FilmConfig(stages=(0, 1), condition_width=8, hidden_width=8),
        ),
        flow=FlowConfig(consistency=0.0),  # the term makes the program twice as large
        data=replace(DataConfig(), root=str(tiny_data), crop=16, max_side=48, vessel_crops=0.5),
        optim=OptimConfig(lr=1e-3, accumulate=1, ema_decay=0.9, plateau_patience=1),
        train=TrainConfig(batch=4, epochs=3, epoch_steps=4, validate_every=1, checkpoint_every=3, log_every=2),
        eval=EvalConfig(sampler="euler", steps=1, window_batch=8, overlap=0.0, min_component=0),
    )
