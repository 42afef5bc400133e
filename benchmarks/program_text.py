"""Reads the text of a compiled XLA program: computations, instructions, and the lines of Python they come from."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16, "token": 0, "opaque": 0}


def _width(dtype: str) -> int:
    """Bytes of one element; of a type of less than a byte, 1."""
    if dtype in BYTES:
        return BYTES[dtype]
    bits = re.match(r"[suf](\d+)", dtype)
    if bits is None:
        raise ValueError(f"type {dtype!r}: how many bytes it has is not known here; add it to BYTES")
    return max(int(bits[1]) // 8, 1)


@dataclass(frozen=True)
class Shape:
    """An array of the program."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        return self.size * _width(self.dtype)


def shapes(text: str) -> list[Shape]:
    """Returns the arrays of a type, `f32[2,3]{1,0}` or a tuple of such."""
    found = re.findall(r"\b([a-z]+\d*\w*)\[([\d,]*)\]", text)
    return [Shape(dtype, tuple(int(d) for d in dims.split(",") if d)) for dtype, dims in found]


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    op: str
    shapes: list[Shape]
    """Its results."""
    operands: list[str]
    """Names of instructions of the same computation."""
    literal: str
    """What stands in its parentheses: a parameter's number, a constant's value."""
    attributes: str
    root: bool

    @property
    def bytes(self) -> int:
        return sum(shape.bytes for shape in self.shapes)

    def attribute(self, pattern: str) -> str | None:
        """Returns the first group of a regular expression found among the attributes."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None

    def called(self) -> list[str]:
        """Returns the names of the computations that it calls; of a conditional, its branches."""
        several = self.attribute(r"branch_computations=\{([^}]*)\}")
        if several is not None:
            return re.findall(r"%([\w.\-<>]+)", several)
        names = r"(?:calls|to_apply|body|true_computation|false_computation)=%([\w.\-<>]+)"
        return re.findall(names, self.attributes)


@dataclass
class Computation:
    """Instructions in their order."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    @cached_property
    def by_name(self) -> dict[str, Instruction]:
        return {i.name: i for i in self.instructions}

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """The instructions that read each instruction."""
        users: dict[str, list[Instruction]] = defaultdict(list)
        for instruction in self.instructions:
            for operand in instruction.operands:
                users[operand].append(instruction)
        return users

    @property
    def root(self) -> Instruction:
        return next(i for i in self.instructions if i.root)

    @property
    def parameters(self) -> dict[int, Instruction]:
        return {int(i.literal): i for i in self.instructions if i.op == "parameter"}

    def operands(self, instruction: Instruction) -> list[Instruction]:
        return [self.by_name[name] for name in instruction.operands]


@dataclass
class Program:
    """A compiled module."""

    computations: dict[str, Computation]
    entry: str
    frames: dict[int, tuple[str, int, str, int]]
    """(file, line, function, frame of the caller; 0: none) of each stack frame."""

    def place(self, instruction: Instruction, within: str) -> str:
        """Returns `file:line function` of the innermost Python frame in a file whose path has `within` in it.

        "" if there is none.
        """
        frame = int(instruction.attribute(r"stack_frame_id=(\d+)") or 0)
        while frame:
            file, line, function, caller = self.frames[frame]
            if within in file:
                return f"{within}{file.rpartition(within)[2]}:{line} {function.replace('.<locals>', '')}"
            frame = caller
        return ""


def read_program(text: str) -> Program:
    """Returns the program of `compiled.as_text()`."""
    computations: dict[str, Computation] = {}
    current: Computation | None = None
    entry = ""
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-<>]+) \(.*\{\s*$", line)
        if header:
            current = computations[header[2]] = Computation(header[2])
            entry = header[2] if header[1] else entry
        elif current is not None and (found := re.match(r"\s+(ROOT )?%?([\w.\-<>]+) = (.*)$", line)):
            current.instructions.append(_instruction(found[2], found[3], bool(found[1])))
    if not entry:
        raise ValueError("not the text of a compiled program: it has no ENTRY")
    return Program(computations, entry, _frames(text))


def _closing(text: str) -> int:
    """Index of the parenthesis that closes the one with which the text begins."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return index
    raise ValueError(f"no closing parenthesis: {text[:80]}")


def _instruction(name: str, text: str, root: bool) -> Instruction:
    text = re.sub(r"/\*.*?\*/", "", text)
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    result, rest = text[:end], text[end:].strip()
    op, _, _ = rest.partition("(")
    arguments = rest[len(op) :]
    end = _closing(arguments)
    inside = arguments[1:end]
    operands = re.findall(r"%([\w.\-<>]+)", inside)
    return Instruction(name, op.strip(), shapes(result), operands, inside, arguments[end + 1 :], root)


def _frames(text: str) -> dict[int, tuple[str, int, str, int]]:
    """Reads the tables at the head of the text."""
    files = _names(text, "FileNames")
    functions = _names(text, "FunctionNames")
    pattern = r"^(\d+) \{file_name_id=(\d+) function_name_id=(\d+) line=(\d+)"
    locations = {int(i): (files[f], int(line), functions[g]) for i, f, g, line in re.findall(pattern, text, re.M)}
    pattern = r"^(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?"
    rows = [(int(i), int(at), int(parent or 0)) for i, at, parent in re.findall(pattern, text, re.M)]
    # Some versions of XLA print the caller's number plus one; the first frame has no caller.
    offset = rows[0][2] if rows else 0
    return {i: (*locations[at], max(parent - offset, 0)) for i, at, parent in rows}


def _names(text: str, table: str) -> dict[str, str]:
    _, _, rest = text.partition(f"\n{table}\n")
    return dict(re.findall(r'^(\d+) "(.*)"$', rest.split("\n\n")[0], re.M))
