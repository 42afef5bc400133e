"""Times the PyTorch reference: a program of its own, since PyTorch may live in another environment than JAX.

    python benchmarks/torch_worker.py --size 128 --batch 6 --film --mode train --precision float32

After one warm-up call it prints {"ready": true, "compile_s": ..., "program": ..., "versions": ..., "device": ...};
each line {"runs": n} on stdin is answered with {"seconds": [...], "peak_bytes": ...}; it ends at the end of its input.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from torch_reference import NetworkConfig, Trainer, VelocityNetwork


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, checked; a mistake ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Times the network in PyTorch; speaks JSON lines (see the file).")
    yes_no: Any = argparse.BooleanOptionalAction
    parser.add_argument("--size", type=int, default=128, help="side of the maps, pixels; a multiple of 8")
    parser.add_argument("--batch", type=int, default=6, help="images per call")
    parser.add_argument("--film", action=yes_no, default=True, help="VLM-FiLM in all four decoder stages")
    parser.add_argument("--mode", choices=("train", "forward"), default="train", help="what a call computes")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="bf16: autocast")
    parser.add_argument("--tf32", action=yes_no, default=True, help="TF32 in float32 products on GPU, JAX's default")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--channels-last", action="store_true", help="NHWC memory layout")
    parser.add_argument("--attention", choices=("sdpa", "einsum"), default="sdpa", help="softmax attention")
    parser.add_argument("--checkpointing", action="store_true", help="recompute blocks in the backward pass")
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's")
    parser.add_argument("--dim", type=int, default=32, help="channels of the finest level; a multiple of 8")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--head-dim", type=int, default=32, help="channels of a head")
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if gpu else "cpu")
    args = parser.parse_args(arguments)
    for name, unit in (("size", 8), ("dim", 8), ("batch", 1), ("heads", 1), ("head_dim", 1), ("threads", 1)):
        value = getattr(args, name)
        if value is not None and (value < 1 or value % unit):
            parser.error(f"--{name.replace('_', '-')} {value}: must be a positive multiple of {unit}")
    if args.device == "cuda" and not gpu:
        parser.error("--device cuda: this PyTorch sees no GPU")
    return args


def prepare(args: argparse.Namespace) -> Callable[[], Tensor]:
    """The call to time: one training step, or one forward pass, on inputs that are on the device already."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.set_float32_matmul_precision("high" if args.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = args.tf32
        torch.backends.cudnn.benchmark = True  # shapes never change
    torch.manual_seed(0)
    device = torch.device(args.device)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    config = NetworkConfig(
        **{name: getattr(args, name) for name in ("size", "dim", "heads", "head_dim", "attention", "checkpointing")},
        film_stages=(0, 1, 2, 3) if args.film else (),
    )
    network = VelocityNetwork(config).to(device).to(memory_format=layout)
    velocity = torch.compile(network) if args.compile else network
    shape = (args.batch, 1, args.size, args.size)
    x, image, target = (torch.randn(shape, device=device).clamp(-1, 1).to(memory_format=layout) for _ in range(3))
    embedding = torch.randn(args.batch, config.embedding_width, device=device) if args.film else None
    if args.mode == "train":
        trainer = Trainer(network, velocity, args.precision)
        return lambda: trainer.step(image, target, embedding)
    t = torch.rand(args.batch, device=device)

    def forward() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            return velocity(x, t, image, embedding)

    return forward


def timed(call: Callable[[], Tensor], device: str) -> float:
    """Seconds that a call takes on an otherwise idle device."""
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    call()
    synchronise()
    return time.perf_counter() - start


def peak_bytes(device: str) -> int:
    """Peak memory: on GPU of tensors since the warm-up, on CPU of the whole process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    # Linux carries ru_maxrss over from the program that started this one; VmHWM starts afresh.
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def own_stdout() -> TextIO:
    """Standard output for JSON lines alone: whatever else writes there, compilers too, is sent to stderr."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return out


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """What is run, by which versions, where."""
    gpu = args.device == "cuda"
    words = [args.mode, "film" if args.film else "no film", args.precision, f"{args.attention} attention"]
    words += ["tf32"] * (gpu and args.tf32 and args.precision == "float32")
    words += ["channels last"] * args.channels_last + ["checkpointing"] * args.checkpointing
    words += ["compiled" if args.compile else "eager", f"{args.batch} x {args.size}x{args.size}, dim {args.dim}"]
    versions = {"torch": torch.__version__, **({"cuda": torch.version.cuda} if gpu else {})}
    device = torch.cuda.get_device_name() if gpu else f"cpu ({torch.get_num_threads()} threads)"
    return {"program": ", ".join(words), "versions": versions, "device": device}


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    out = own_stdout()
    call = prepare(args)
    compile_s = timed(call, args.device)
    if args.device == "cuda":
        # The warm-up tries cuDNN's algorithms, some with large workspaces.
        torch.cuda.reset_peak_memory_stats()
    print(json.dumps({"ready": True, "compile_s": compile_s, **describe(args)}), file=out)
    for line in sys.stdin:
        try:
            runs = int(json.loads(line)["runs"])
        except (ValueError, KeyError, TypeError):
            sys.exit(f'torch_worker: expected a line like {{"runs": 3}}, got {line.strip()!r}')
        seconds = [timed(call, args.device) for _ in range(runs)]
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(args.device)}), file=out)


if __name__ == "__main__":
    main()
