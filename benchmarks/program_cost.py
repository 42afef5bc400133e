"""What a compiled program costs on a GPU: kernels, bytes, arithmetic, and the time that these need at least.

Counted from the program's text (`compiled.as_text()`), so no GPU is needed. A kernel reads of each operand what it
uses and writes its results. A loop counts as often as it runs; of a conditional the costlier branch counts. The text
does not show the choice of algorithms (autotuning), the workspace of convolutions, and what stays in the L2 cache
between kernels. How much longer than that the kernels of each kind take was measured once (`SLOWER`).
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from program_text import Computation, Instruction, Program, Shape

# These start no kernel.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"),
    "opt-barrier",
}
_SLICES = ("slice", "dynamic-slice", "gather")
_ELEMENT_BY_ELEMENT = {
    *("bitcast", "reshape", "transpose", "copy", "convert", "negate", "abs", "exponential", "log", "rsqrt", "sqrt"),
    *("tanh", "logistic", "add", "subtract", "multiply", "divide", "maximum", "minimum", "compare", "and", "select"),
}
"""Each of their values needs one value of each operand, so inside a kernel only what is read of them is computed."""
LAUNCH_SECONDS = 2e-6
"""What a kernel takes at least, however little it does."""
SLOWER = {
    "fusion": 1.36,
    "fusion with products": 1.46,
    "__cublas": 1.3,
    "__cudnn$fmha": 4.6,
    "__cudnn$convForward": 3.8,
    "__cudnn$convBiasActivation": 5.1,
    "__cudnn$convBackwardInput": 3.5,
    "__cudnn$convBackwardFilter": 7.0,
    "fft": 3.1,
}
"""How many times as long as `Card.seconds` the kernels of a kind take together, by the beginning of its name.

Measured on an H200, in the bf16 step of vlm_film_gaussian (benchmarks/results/gpu_measured_bf16.json). That of fusions
is corrected for what they were counted to read too much then (docs/performance.md).
"""


@dataclass(frozen=True)
class Card:
    """A GPU's rates by its maker's data sheet: dense products, without sparsity."""

    name: str
    memory_bytes: float
    bytes_per_second: float
    flop_per_second: dict[str, float]
    """Of products, by the type of their inputs; float32 inputs as TF32."""

    def seconds(self, kernel: "Kernel") -> float:
        """Returns what one run of a kernel takes at least: its traffic, its products, or the launch."""
        rate = self.flop_per_second[kernel.dtype] if kernel.flop else 1.0
        return max(kernel.bytes / self.bytes_per_second, kernel.flop / rate, LAUNCH_SECONDS)


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program."""

    name: str
    kind: str
    read: int
    written: int
    flop: int
    """Of its products and convolutions, 2 per multiplication and addition."""
    dtype: str
    """Of the inputs of its products: "f32", "bf16", "f16"."""
    runs: int
    place: str
    """The line of flowseg that it comes from, "" if there is none."""

    @property
    def bytes(self) -> int:
        return self.read + self.written

    @property
    def slower(self) -> float:
        """The time of a kernel of this kind as a multiple of `Card.seconds`; 1 if that was not measured."""
        kinds = [kind for kind in SLOWER if self.kind.startswith(kind)]
        return SLOWER[max(kinds, key=len)] if kinds else 1.0


def kernels(program: Program, card: Card, within: str = "flowseg/") -> list[Kernel]:
    """Returns the kernels of a program, loops and branches resolved.

    Raises:
        ValueError: a loop whose number of rounds is not in the text.
    """

    def walk(name: str, runs: int) -> Iterator[Kernel]:
        computation = program.computations[name]
        for i in computation.instructions:
            if i.op in _FREE or i.op.endswith(("-done", "-update")):
                continue
            if i.op == "while":
                rounds = i.attribute(r'known_trip_count":\{"n":"(\d+)"')
                if rounds is None:
                    raise ValueError(f"loop {i.name}: the program does not say how often it runs")
                yield from walk(i.called()[0], runs * int(rounds))
            elif i.op == "conditional":
                branches = [list(walk(branch, runs)) for branch in i.called()]
                yield from max(branches, key=lambda part: sum(k.runs * card.seconds(k) for k in part))
            elif i.op in ("call", "async-start"):
                yield from walk(i.called()[0], runs)
            else:
                yield _kernel(program, computation, i, runs, program.place(i, within))

    return list(walk(program.entry, 1))


def totals(found: list[Kernel], card: Card) -> dict[str, Any]:
    """Returns the sums over the kernels of a program."""
    return {
        "kernels": sum(k.runs for k in found),
        "bytes": sum(k.runs * k.bytes for k in found),
        "flop": sum(k.runs * k.flop for k in found),
        "roofline_ms": 1e3 * sum(k.runs * card.seconds(k) for k in found),
        "expected_ms": 1e3 * sum(k.runs * card.seconds(k) * k.slower for k in found),
    }


def by(found: list[Kernel], card: Card, key: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns the sums for each value of an attribute of kernels ("place", "kind"), those that move most first."""
    groups: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in found:
        groups[getattr(kernel, key)].append(kernel)
    summed = [(name, totals(group, card)) for name, group in groups.items()]
    return sorted(summed, key=lambda row: -row[1]["bytes"])


def _kernel(program: Program, computation: Computation, i: Instruction, runs: int, place: str) -> Kernel:
    operands = computation.operands(i)
    read, written = sum(operand.bytes for operand in operands), i.bytes
    flop, dtype, kind = 0, "", i.op
    if i.op == "fusion":
        body = program.computations[i.called()[0]]
        read, written = _fusion_traffic(body)
        flop, dtype = _products(program, body)
        kind = "fusion with products" if flop else "fusion"
    elif i.op == "dot":
        flop, dtype = _dot(operands, i), operands[0].shapes[0].dtype
    elif i.op == "custom-call":
        kind = i.attribute(r'custom_call_target="([^"]+)"') or "custom-call"
        # The last result of a library's call may be its workspace, which is no traffic of its own.
        results = [shape for shape in i.shapes if shape.dtype not in ("u8", "s8")] or i.shapes
        written = sum(shape.bytes for shape in results)
        flop, dtype = _library_flop(kind, operands, results, i), operands[0].shapes[0].dtype if operands else ""
    elif i.op == "fft":
        read, written = 2 * read, 2 * written  # rows, then columns
    elif i.op == "dynamic-update-slice":
        read, written = operands[1].bytes, operands[1].bytes
    elif i.op in _SLICES:
        read = written
    return Kernel(i.name, kind, read, written, flop, dtype, runs, place)


def _fusion_traffic(body: Computation) -> tuple[int, int]:
    """Bytes that a fusion reads and writes."""

    @cache
    def needed(name: str) -> int:
        """Values of an array that the kernel reads or computes."""
        whole, total = sum(shape.size for shape in body.by_name[name].shapes), 0
        for user in body.users[name]:
            if user.op in _SLICES and user.operands[0] == name:
                total += user.shapes[0].size
            elif user.op in _ELEMENT_BY_ELEMENT and not user.root:
                total += needed(user.name)
            elif user.op != "dynamic-update-slice" or user.operands[0] != name:  # what is written into is not read
                return whole
        return min(whole, total) if body.users[name] else whole

    def used(i: Instruction) -> int:
        return i.bytes * needed(i.name) // max(1, sum(shape.size for shape in i.shapes))

    def stored(i: Instruction) -> int:
        while i.op == "bitcast":
            i = body.operands(i)[0]
        return body.operands(i)[1].bytes if i.op == "dynamic-update-slice" else i.bytes

    root = body.root
    results = body.operands(root) if root.op == "tuple" else [root]
    return sum(used(parameter) for parameter in body.parameters.values()), sum(stored(result) for result in results)


def _products(program: Program, body: Computation) -> tuple[int, str]:
    """FLOP of the products and convolutions inside a computation, and the type of their inputs."""
    flop, dtype = 0, ""
    for i in body.instructions:
        if i.op == "dot":
            flop, dtype = flop + _dot(body.operands(i), i), body.operands(i)[0].shapes[0].dtype
        elif i.op == "convolution":
            kernel = body.operands(i)[1].shapes[0]
            flop, dtype = flop + _convolution(i, i.shapes[0], kernel), kernel.dtype
        elif i.op == "fusion":
            more, inner = _products(program, program.computations[i.called()[0]])
            flop, dtype = flop + more, inner or dtype
    return flop, dtype


def _dot(operands: list[Instruction], i: Instruction) -> int:
    contracted = i.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
    return _product(i.shapes[0], operands[0].shapes[0], contracted)


def _product(out: Shape, left: Shape, contracted: str) -> int:
    """FLOP of a product, by its result, its left factor and the dimensions of that which are summed over."""
    return 2 * out.size * math.prod(left.dims[int(d)] for d in re.findall(r"\d+", contracted))


def _convolution(i: Instruction, out: Shape, kernel: Shape) -> int:
    """FLOP of a convolution, by its output and its kernel; `dim_labels` is for example `b01f_01io->b01f`."""
    filters = i.attribute(r"dim_labels=\w+_(\w+)->") or ""
    return 2 * out.size * kernel.size // kernel.dims[filters.index("o")]


def _library_flop(target: str, operands: list[Instruction], results: list[Shape], i: Instruction) -> int:
    """FLOP of a call of cuDNN or cuBLAS; 0 of any other."""
    given = [operand.shapes[0] for operand in operands]
    if "cudnn$conv" in target:
        if "BackwardFilter" in target:
            return _convolution(i, given[1], results[0])
        return _convolution(i, given[0] if "BackwardInput" in target else results[0], given[1])
    if "fmha" in target:
        (b, n, h, d), m = given[0].dims, given[1].dims[1]
        # Two products forward; backward five, one of which computes the weights again.
        return (10 if "Backward" in target else 4) * b * h * n * m * d
    if "gemm" in target or "matmul" in target:
        contracted = i.attribute(r'lhs_contracting_dimensions":\[([^\]]*)\]') or ""
        return _product(results[0], given[0], contracted)
    return 0
