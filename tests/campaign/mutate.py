"""A small fuzzer: files that were right, changed in their bytes, or in what their format says of itself."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
_DEEP = "deep"
_BYTES = (0, 1, 0x7F, 0x80, 0xFF)
_WORDS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000)
_NUMBERS = ("0", "-1", "1e999", "-1e308", "1e-320", "nan", "inf", "9" * 400, "1e12", "0.5", "", "true", "0x10", "1_0")
_VALUES: tuple[Any, ...] = (None, True, 0, -1, 2**40, 10**400, 1e308, 5e-324, float("nan"), float("inf"), -0.0)
_VALUES += ("", "x", "\0", "é", [], {}, [[]], [None], {"": 0}, "../../x", "x" * 5000, [1] * 5000, "\ud800", "1e9")


def mutated(content: bytes, suffix: str, rng: Rng) -> bytes:
    """Returns a file's content with one or more changes; what its format allows depends on the suffix."""
    aware = _AWARE.get(suffix)
    if aware is not None and rng.random() < 0.6:
        try:
            return aware(content, rng)
        except (ValueError, KeyError, IndexError, struct.error, zipfile.BadZipFile):
            pass  # it is not of that format
    return _bytewise(content, rng)


def _bytewise(content: bytes, rng: Rng) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 2, 4, 16]))):
        _BYTEWISE[int(rng.integers(len(_BYTEWISE)))](changed, rng)
    return bytes(changed)


def _place(content: bytearray, rng: Rng) -> int:
    """Returns a place, more often near the beginning, where formats have their headers."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 512)
    return int(rng.integers(end)) if end else 0


def _flip(content: bytearray, rng: Rng) -> None:
    if content:
        content[_place(content, rng)] ^= 1 << int(rng.integers(8))


def _set(content: bytearray, rng: Rng) -> None:
    if content:
        content[_place(content, rng)] = int(rng.choice([*_BYTES, int(rng.integers(256))]))


def _word(content: bytearray, rng: Rng) -> None:
    value, start = int(rng.choice(_WORDS)), _place(content, rng)
    size, order = int(rng.choice([2, 4])), "little" if rng.random() < 0.5 else "big"
    content[start : start + size] = (value % 256**size).to_bytes(size, order)  # type: ignore[arg-type]


def _cut(content: bytearray, rng: Rng) -> None:
    del content[_place(content, rng) :]


def _remove(content: bytearray, rng: Rng) -> None:
    start = _place(content, rng)
    del content[start : start + int(rng.integers(1, 33))]


def _insert(content: bytearray, rng: Rng) -> None:
    start = _place(content, rng)
    content[start:start] = rng.bytes(int(rng.integers(1, 33)))


def _repeat(content: bytearray, rng: Rng) -> None:
    start = _place(content, rng)
    content[start:start] = content[start : start + int(rng.integers(1, 257))] * int(rng.integers(1, 5))


def _fill(content: bytearray, rng: Rng) -> None:
    start = _place(content, rng)
    size = len(content[start : start + int(rng.integers(1, 129))])
    content[start : start + size] = bytes([int(rng.choice(_BYTES))]) * size


_BYTEWISE: list[Callable[[bytearray, Rng], None]] = [_flip, _set, _word, _cut, _remove, _insert, _repeat, _fill]


def _png(content: bytes, rng: Rng) -> bytes:
    """Changes the data of one chunk and makes its checksum right again."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    which = int(rng.integers(len(chunks)))
    name, data = chunks[which]
    if name == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(_bytewise(zlib.decompress(data), rng))
    else:
        data = _bytewise(data, rng)
    chunks[which] = (name, data)
    if rng.random() < 0.1:
        chunks.insert(which, chunks[int(rng.integers(len(chunks)))])
    checked = (len(data).to_bytes(4, "big") + name + data + _checksum(name + data) for name, data in chunks)
    return content[:8] + b"".join(checked)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _json(content: bytes, rng: Rng) -> bytes:
    """Changes one value, or one name, somewhere in the tree."""
    tree = json.loads(content)
    nodes = list(_nodes(tree))
    holder, key = nodes[int(rng.integers(len(nodes)))]
    way = rng.random()
    if way < 0.15:
        del holder[key]
    elif way < 0.25 and isinstance(holder, dict):
        holder[str(key)[:-1] + "é"] = holder.pop(key)
    elif way < 0.3:
        holder[key] = {"a": holder[key]} if rng.random() < 0.5 else _DEEP
    elif way < 0.5 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * 10 ** int(rng.integers(1, 13)) * int(rng.choice([-1, 1]))
    else:
        holder[key] = _VALUES[int(rng.integers(len(_VALUES)))]
    return json.dumps(tree).replace(f'"{_DEEP}"', "[" * 20_000 + "]" * 20_000).encode()


def _nodes(tree: Any) -> Any:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _nodes(tree[key])


def _jsonl(content: bytes, rng: Rng) -> bytes:
    lines = content.splitlines(keepends=True)
    which = int(rng.integers(len(lines)))
    lines[which] = _json(lines[which], rng) + b"\n"
    return b"".join(lines)


def _text(content: bytes, rng: Rng) -> bytes:
    """Puts a hostile number, or nothing, in place of a number; or repeats, drops or swaps lines."""
    if rng.random() < 0.3:
        lines = content.splitlines(keepends=True)
        a, b = (int(i) for i in rng.integers(len(lines), size=2))
        lines[a], lines[b] = lines[b], (lines[a] if rng.random() < 0.5 else b"")
        return b"".join(lines)
    found = list(re.finditer(rb"[-+.\d][\d.e+-]*", content))
    match = found[int(rng.integers(len(found)))]
    return content[: match.start()] + str(rng.choice(_NUMBERS)).encode() + content[match.end() :]


def _safetensors(content: bytes, rng: Rng) -> bytes:
    """Changes the header, or the JSON in its metadata, and makes the header's length right again."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    settings = header.get("__metadata__", {})
    inside = [name for name, text in settings.items() if text.startswith("{")]
    if inside and rng.random() < 0.4:
        name = inside[int(rng.integers(len(inside)))]
        settings[name] = _json(settings[name].encode(), rng).decode()
        changed = json.dumps(header).encode()
    else:
        changed = _json(content[8 : 8 + size], rng)
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


def _zip(content: bytes, rng: Rng) -> bytes:
    """Changes one member, or its name, and packs all of them again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    which = names[int(rng.integers(len(names)))]
    if rng.random() < 0.15:
        hostile = (f"../{which}", f"/{which}", which.replace("/", "\\"), f"{which}\0", "é" * 200, which.upper())
        members[str(rng.choice(hostile))] = members.pop(which)
    else:
        members[which] = mutated(members[which], "." + which.rpartition(".")[2], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


_AWARE: dict[str, Callable[[bytes, Rng], bytes]] = {
    ".png": _png,
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _text,
    ".pgm": _text,
    ".ppm": _text,
    ".safetensors": _safetensors,
    ".zip": _zip,
    ".ckpt": _zip,
}
