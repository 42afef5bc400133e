"""The PyTorch reference against the original's numbers; its training step; its worker protocol."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
pytestmark = pytest.mark.torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "torch_reference.py"
TOLERANCE = 1e-4
GROUPS = 8
TINY = ["--dim", "8", "--size", "32", "--batch", "2", "--heads", "2", "--head-dim", "8"]

Arrays = dict[str, np.ndarray]
Gradients = dict[str, Any]


@pytest.fixture(scope="module")
def reference(torch_reference: Callable[[], ModuleType]) -> ModuleType:
    return torch_reference()


@pytest.fixture(scope="module")
def arrays(shared: Path) -> Arrays:
    with np.load(shared / "parity" / "unet_film_dim8_32px.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module", params=["sdpa", "einsum"])
def original(request: pytest.FixtureRequest, reference: ModuleType, arrays: Arrays) -> Callable[..., Any]:
    """Makes the original's network, with either kind of softmax attention."""

    def make(stages: tuple[int, ...] = (0, 1, 2, 3), **options: Any) -> Any:
        config = reference.NetworkConfig(
            size=32,
            dim=8,
            film_stages=stages,
            embedding_width=64,
            condition_width=32,
            hidden_width=32,
            attention=request.param,
        )
        network = reference.VelocityNetwork(replace(config, **options))
        names = (name for name in arrays if name.startswith("param/"))
        left_out = tuple(f"param/vlm_film_heads.{stage}." for stage in range(4) if stage not in stages)
        if not stages:
            left_out = ("param/vlm_film",)
        state = {n.removeprefix("param/"): torch.from_numpy(arrays[n]) for n in names if not n.startswith(left_out)}
        network.load_state_dict(state, strict=True)
        return network

    return make


def plain(network: Any, arrays: Arrays, *, film: bool = True, suffix: str = "") -> Any:
    """The velocity of the parity inputs, (2, 1, H, W)."""
    x, image = (torch.from_numpy(arrays[f"in/{name}{suffix}"]) for name in ("x", "image"))
    embedding = torch.from_numpy(arrays["in/embedding"]) if film else None
    return network(x, torch.from_numpy(arrays["in/t"]), image, embedding)


def relative(found: Any, expected: np.ndarray) -> float:
    """Largest difference over the largest value expected."""
    found = found.detach().numpy()
    assert found.shape == expected.shape and found.dtype == np.float32
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_velocity_without_film(original: Callable[..., Any], arrays: Arrays) -> None:
    with torch.inference_mode():
        for stages in ((0, 1, 2, 3), ()):
            found = plain(original(stages), arrays, film=False)
            assert relative(found, arrays["out/velocity_no_film"]) < TOLERANCE


@pytest.mark.parametrize("point", ["after_block1", "after_block2"])
def test_velocity_with_film(original: Callable[..., Any], arrays: Arrays, point: str) -> None:
    with torch.inference_mode():
        found = plain(original(film_point=point), arrays)
    assert relative(found, arrays[f"out/velocity_film_{point}"]) < TOLERANCE


def test_velocity_with_film_in_the_two_finest_stages(original: Callable[..., Any], arrays: Arrays) -> None:
    with torch.inference_mode():
        found = plain(original((2, 3)), arrays)
    assert relative(found, arrays["out/velocity_film_after_block1_stages_2_3"]) < TOLERANCE


def test_velocity_at_another_size(original: Callable[..., Any], arrays: Arrays) -> None:
    with torch.inference_mode():
        found = plain(original(), arrays, film=False, suffix="_other_size")
    assert found.shape == (2, 1, 48, 48)
    assert relative(found, arrays["out/velocity_no_film_other_size"]) < TOLERANCE


def test_condition_gamma_and_beta(original: Callable[..., Any], arrays: Arrays) -> None:
    network, embedding = original(), torch.from_numpy(arrays["in/embedding"])
    condition = network.vlm_film_conditioner["image_to_cond"](embedding)
    assert relative(condition, arrays["out/condition_vector"]) < TOLERANCE
    for stage, (gamma, beta) in network.films(embedding).items():
        assert relative(gamma, arrays[f"out/gamma_{stage}"]) < TOLERANCE
        assert relative(beta, arrays[f"out/beta_{stage}"]) < TOLERANCE


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_every_gradient(
    original: Callable[..., Any], arrays: Arrays, checkpointing: bool, layout: str
) -> None:
    network = original(checkpointing=checkpointing).to(memory_format=getattr(torch, layout))
    loss = torch.nn.functional.mse_loss(plain(network, arrays), torch.from_numpy(arrays["in/target_velocity"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["out/loss"]), rel=TOLERANCE)
    found = {name: p.grad.numpy() for name, p in network.named_parameters()}
    expected = {name.removeprefix("grad/"): a for name, a in arrays.items() if name.startswith("grad/")}
    assert found.keys() == expected.keys()
    errors = {}
    for name, gradient in expected.items():
        assert found[name].shape == gradient.shape, name
        scale = np.abs(gradient).max()
        if name.endswith("proj.bias") and gradient.size == GROUPS and "vlm_film" not in name:
            # A GroupNorm whose groups hold one channel takes this bias away again: its true gradient is zero, and
            # the reference holds rounding noise. Compared on its kernel's scale.
            scale = np.abs(expected[name.replace(".bias", ".weight")]).max()
        errors[name] = np.abs(found[name] - gradient).max() / scale
    assert {name: error for name, error in errors.items() if not error < TOLERANCE} == {}


def test_parameter_counts(reference: ModuleType) -> None:
    for stages, expected in (((), 10_694_977), ((0, 1, 2, 3), 11_649_729)):
        with torch.device("meta"):
            network = reference.VelocityNetwork(reference.NetworkConfig(size=320, film_stages=stages))
        assert sum(p.numel() for p in network.parameters()) == expected


def test_film_at_its_start_changes_nothing(reference: ModuleType) -> None:
    torch.manual_seed(0)
    network = reference.VelocityNetwork(reference.NetworkConfig(16, 8, 2, 8, film_stages=(0, 1, 2, 3)))
    x, image = torch.randn(2, 2, 1, 16, 16)
    t, embedding = torch.tensor([0.2, 0.9]), torch.randn(2, 2048)
    with torch.inference_mode():
        assert torch.equal(network(x, t, image, embedding), network(x, t, image))


def test_the_path_is_that_of_the_recipe(reference: ModuleType) -> None:
    """x_t and u give back the source and the noise, and both are standard normal."""
    torch.manual_seed(0)
    target = torch.rand(64, 1, 32, 32) * 2 - 1
    x_t, t, u = reference.gaussian_path(target)
    s = t[:, None, None, None]
    noise = (x_t - target + (1 - s) * u) / (0.25 * torch.sqrt(s * (1 - s) + 1e-8))
    for normal in (target - u, noise):
        assert abs(float(normal.mean())) < 0.02 and abs(float(normal.std()) - 1) < 0.02
    assert t.shape == (64,) and 0 <= float(t.min()) < 0.1 and 0.9 < float(t.max()) <= 1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_training_step_is_that_of_the_recipe(reference: ModuleType, precision: str) -> None:
    torch.manual_seed(0)
    network = reference.VelocityNetwork(reference.NetworkConfig(16, 8, 2, 8, film_stages=(0, 3)))
    trainer = reference.Trainer(network, network, precision)
    before = [p.detach().clone() for p in network.parameters()]
    image, target = torch.randn(2, 2, 1, 16, 16)
    loss = trainer.step(image, target, torch.randn(2, 2048))
    assert bool(torch.isfinite(loss)) and loss.shape == ()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and g.dtype == torch.float32 for g in gradients)
    # The unclipped norm is far above 1 at the start.
    assert float(torch.cat([g.flatten() for g in gradients]).norm()) == pytest.approx(1, rel=1e-3)
    for old, new, mean, gradient in zip(before, network.parameters(), trainer.average, gradients, strict=True):
        # AdamW's first update: decay, then the rate against the gradient's sign.
        expected = old * (1 - 2e-4 * 1e-5) - 2e-4 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(new.detach(), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(mean, old + 1e-4 * (new.detach() - old), rtol=0, atol=2e-7)


def start(*arguments: str) -> subprocess.Popen[str]:
    """The benchmark as its callers run it: a program of its own, which finds nothing of this project."""
    command = [
        sys.executable,
        str(SCRIPT.with_name("torch_worker.py")),
        *TINY,
        "--device",
        "cpu",
        "--threads",
        "1",
        *arguments,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def refusal(*arguments: str, lines: str = "") -> tuple[str, str]:
    """What a worker that fails has written to stdout and stderr."""
    with start(*arguments) as worker:
        out, err = worker.communicate(lines, timeout=120)
        assert worker.returncode != 0
    return out, err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode", "train", "--film"], ["train", "film", "float32", "sdpa attention", "eager"]),
        (["--mode", "train", "--no-film", "--checkpointing"], ["train", "no film", "checkpointing"]),
        (
            ["--mode", "forward", "--precision", "bf16", "--channels-last", "--attention", "einsum"],
            ["forward", "bf16", "channels last", "einsum attention"],
        ),
    ],
)
def test_the_worker_answers_in_json_lines(arguments: list[str], told: list[str]) -> None:
    with start(*arguments) as worker:
        assert worker.stdin is not None and worker.stdout is not None and worker.stderr is not None
        ready = json.loads(worker.stdout.readline() or worker.stderr.read())
        answers = []
        for runs in (2, 1):
            print(json.dumps({"runs": runs}), file=worker.stdin, flush=True)
            answers.append(json.loads(worker.stdout.readline()))
        rest, err = worker.communicate(timeout=120)
        assert rest == "" and worker.returncode == 0, err
    assert ready.keys() == {"ready", "compile_s", "program", "versions", "device"}
    assert ready["ready"] is True and ready["compile_s"] > 0
    assert ready["versions"] == {"torch": torch.__version__} and ready["device"].startswith("cpu")
    assert set(told) <= set(ready["program"].split(", "))
    assert [len(answer["seconds"]) for answer in answers] == [2, 1]
    for answer in answers:
        assert answer.keys() == {"seconds", "peak_bytes"}
        assert all(0 < seconds < 60 for seconds in answer["seconds"])
        assert 50 * 2**20 < answer["peak_bytes"] < 4 * 2**30


def test_the_worker_refuses_mistakes() -> None:
    out, err = refusal("--size", "30")
    assert out == "" and "--size 30: must be a positive multiple of 8" in err
    out, err = refusal("--mode", "forward", lines="runs\n")
    assert len(out.splitlines()) == 1 and json.loads(out)["ready"] and "expected a line like" in err
